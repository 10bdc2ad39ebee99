"""What is kept of a response: its input items and itself, with every text as secretscan leaves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.input_items import kind_of
from instance.chute.dialects.openai_responses.item_ids import input_item_id
from instance.chute.dialects.openai_responses.reasoning import opened

_NO_TEXT = frozenset(
    [
        "type",
        "role",
        "id",
        "call_id",
        "status",
        "object",
        "model",
        "previous_response_id",
        "image_url",
        "file_data",
        "data",
        "file_id",
    ]
)


def stored_form(response_id: str, items: list[JSON], response: JSON, redact: Callable[[str], str]) -> bytes:
    """The JSON `{"input", "response"}` to be sealed."""
    listed = [listed_item(response_id, item, index) for index, item in enumerate(items)]
    return orjson.dumps({"input": redacted(listed, redact), "response": redacted(response, redact)})


def redacted(value: Any, redact: Callable[[str], str], name: str = "") -> Any:
    """The value with each of its texts passed through `redact`; ids, types and pictures are no texts."""
    if name == "encrypted_content":
        texts = [detail["text"] for detail in opened(value) if isinstance(detail.get("text"), str)]
        # Thoughts with a redacted text in them would not be taken back by who signed them.
        return value if all(redact(text) == text for text in texts) else None
    if isinstance(value, str):
        return value if not value or name in _NO_TEXT else redact(value)
    if isinstance(value, dict):
        return {key: redacted(child, redact, key) for key, child in value.items()}
    if isinstance(value, list):
        return [redacted(child, redact, name) for child in value]
    return value


def listed_item(response_id: str, item: JSON, index: int) -> JSON:
    """An input item as it is listed: with an id, a type and a status, its content in parts."""
    made = {**item, "type": kind_of(item)}
    if not isinstance(made.get("id"), str):
        made["id"] = input_item_id(response_id, index)
    if made["type"] != "message":
        return made
    made.setdefault("status", "completed")
    content = made.get("content")
    if isinstance(content, str):
        if made.get("role") == "assistant":
            made["content"] = [{"type": "output_text", "text": content, "annotations": []}]
        else:
            made["content"] = [{"type": "input_text", "text": content}]
    return made
