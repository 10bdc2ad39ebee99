"""What OpenAI's families of image models call the same thing, so that one request fits each of them.

Source: the reference of `POST /v1/images/generations`. Models of other families get the request as it is.
"""

from __future__ import annotations

from instance.chute.answer import JSON

GPT_IMAGE_ONLY = ("background", "moderation", "output_compression", "output_format", "partial_images")

_QUALITIES: dict[str, dict[str, str]] = {
    "gpt-image": {"standard": "medium", "hd": "high"},
    "dall-e-3": {"low": "standard", "medium": "standard", "auto": "standard", "high": "hd"},
    "dall-e-2": {"low": "standard", "medium": "standard", "auto": "standard", "high": "standard", "hd": "standard"},
}
_SIZES: dict[str, dict[str, str]] = {
    "gpt-image": {
        "256x256": "1024x1024",
        "512x512": "1024x1024",
        "1792x1024": "1536x1024",
        "1024x1792": "1024x1536",
    },
    "dall-e-3": {
        "auto": "1024x1024",
        "256x256": "1024x1024",
        "512x512": "1024x1024",
        "1536x1024": "1792x1024",
        "1024x1536": "1024x1792",
    },
    "dall-e-2": {
        "auto": "1024x1024",
        "1536x1024": "1024x1024",
        "1024x1536": "1024x1024",
        "1792x1024": "1024x1024",
        "1024x1792": "1024x1024",
    },
}


def family_of(model: str) -> str:
    """gpt-image, dall-e-3, dall-e-2, or empty for models that nothing is known of."""
    name = model.rsplit("/", 1)[-1]
    if name.startswith(("gpt-image", "chatgpt-image")):
        return "gpt-image"
    return name if name in ("dall-e-2", "dall-e-3") else ""


def evened(req: JSON, model: str) -> JSON:
    """The request as the model's family knows it; the same object when it is that already."""
    family = family_of(model)
    if not family:
        return req
    new = dict(req)
    for name, table in (("quality", _QUALITIES), ("size", _SIZES)):
        value = new.get(name)
        if isinstance(value, str):
            new[name] = table[family].get(value, value)
    if family == "gpt-image":
        new.pop("response_format", None)
        new.pop("style", None)
    else:
        for name in GPT_IMAGE_ONLY:
            new.pop(name, None)
        if family == "dall-e-2":
            new.pop("style", None)
    return req if new == req else new


def one_at_a_time(model: str) -> bool:
    """Whether the model makes a single image a call."""
    return family_of(model) == "dall-e-3"
