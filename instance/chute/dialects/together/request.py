"""Chat and image requests as Together takes them. Source: its OpenAPI document (together.ai API reference)."""

from __future__ import annotations

import re

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.openai_fields import OPENAI_ONLY
from instance.chute.dialects.openai_like.schema_instruction import schema_of

_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")
IMAGE_FORMATS = {"b64_json": "base64", "url": "url"}
IMAGES_ABSENT = (
    "quality",
    "style",
    "background",
    "moderation",
    "output_compression",
    "partial_images",
    "user",
    "stream",
)


def fit(draft: Draft, *, safety_model: str = "") -> None:
    """Change a chat request to Together's names; what it has nothing like is dropped."""
    draft.rename("max_completion_tokens", "max_tokens")
    _logprobs(draft)
    if isinstance(draft.get("stop"), str):
        draft.set("stop", [draft.get("stop")])
    schema = schema_of(draft.get("response_format"))
    if schema is not None:
        draft.set("response_format", {"type": "json_schema", "schema": schema})
    if safety_model and "safety_model" not in draft.req:
        draft.set("safety_model", safety_model)
    draft.drop(*OPENAI_ONLY, "user", "parallel_tool_calls")
    draft.each_message(_message)


def _logprobs(draft: Draft) -> None:
    """Their `logprobs` is the number of alternatives, OpenAI's a switch beside that number."""
    asked = draft.get("logprobs")
    if isinstance(asked, bool) or "top_logprobs" in draft.req:
        number = draft.remove("top_logprobs")
        draft.remove("logprobs")
        if asked:
            draft.set("logprobs", number or 1)


def _message(message: JSON) -> JSON:
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def fit_images(draft: Draft) -> None:
    """Change an image request: `size` becomes width and height."""
    size = draft.get("size")
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found:
        draft.remove("size")
        for name, number in zip(("width", "height"), found.groups(), strict=True):
            if name not in draft.req:
                draft.set(name, int(number))
    elif size == "auto":
        draft.remove("size")
    else:
        draft.drop("size")
    wanted = draft.get("response_format")
    if wanted in IMAGE_FORMATS:
        draft.set("response_format", IMAGE_FORMATS[wanted])
    draft.drop(*IMAGES_ABSENT)
