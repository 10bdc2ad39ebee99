"""What a call needs of its model, and whether a model has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instance.chute.catalogue import Model
    from instance.chute.exchange import Exchange

MEDIA = {
    "image_url": "vision",
    "input_image": "vision",
    "input_audio": "audio_input",
    "file": "pdf",
    "input_file": "pdf",
}


def needed(x: Exchange) -> set[str]:
    """The abilities (of `catalogue.CAPABILITIES`) that the request uses."""
    found = {MEDIA[kind] for kind in _media_kinds(x) if kind in MEDIA}
    req = x.req
    if req.get("tools") or req.get("functions"):
        found.add("tools")
    form = req.get("response_format")
    if type(form) is dict and form.get("type") == "json_schema":
        found.add("json_schema")
    if type(req.get("modalities")) is list and "audio" in req["modalities"]:
        found.add("audio_output")
    return found


def lacks(x: Exchange, model: Model | None) -> str:
    """The first thing that the call needs and the model is not known to have; empty when it has all.

    Of a model that nobody knows only text, tools and JSON are expected.
    """
    for ability in sorted(needed(x)):
        known = model.can(ability) if model is not None else ability in ("tools", "json_schema")
        if not known:
            return ability
    if model is not None and model.context_tokens is not None and x.prompt_tokens() > model.context_tokens:
        return "context"
    return ""


def _media_kinds(x: Exchange) -> set[Any]:
    messages = x.req.get("messages")
    kinds: set[Any] = set()
    for message in messages if type(messages) is list else ():
        content = message.get("content") if type(message) is dict else None
        for part in content if type(content) is list else ():
            if type(part) is dict:
                kinds.add(part.get("type"))
    return kinds
