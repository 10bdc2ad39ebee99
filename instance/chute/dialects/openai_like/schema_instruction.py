"""A JSON schema put into words, for models that know `json_object` only."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.draft import Draft

INSTRUCTION = "Answer with one JSON object and nothing else. It must be valid against this JSON schema:\n"
JSON_WORD = "Answer in JSON."


def schema_of(response_format: Any) -> Any:
    """The schema that `response_format` of type `json_schema` holds; `None` for another type."""
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return None
    holder = response_format.get("json_schema")
    return holder.get("schema", {}) if isinstance(holder, dict) else {}


def instruct(draft: Draft) -> bool:
    """Ask for the schema in words and for `json_object` by field; whether the request asked for a schema."""
    schema = schema_of(draft.get("response_format"))
    if schema is None:
        return False
    draft.set("response_format", {"type": "json_object"})
    add_system_text(draft, INSTRUCTION + orjson.dumps(schema).decode())
    return True


def add_system_text(draft: Draft, text: str) -> None:
    """Add to the first system message, or put one before all others."""
    messages: list[JSON] = draft.req["messages"]
    first = messages[0]
    if first.get("role") in ("system", "developer") and isinstance(first.get("content"), str):
        draft.set("messages", [{**first, "content": f"{first['content']}\n\n{text}"}, *messages[1:]])
    elif first.get("role") in ("system", "developer") and isinstance(first.get("content"), list):
        draft.set(
            "messages", [{**first, "content": [*first["content"], {"type": "text", "text": text}]}, *messages[1:]]
        )
    else:
        draft.set("messages", [{"role": "system", "content": text}, *messages])


def ensure_json_word(draft: Draft) -> None:
    """Some providers refuse `json_object` when no message has the word: then one says it."""
    if not any("json" in _text(message.get("content")).lower() for message in draft.req["messages"]):
        add_system_text(draft, JSON_WORD)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content)
    return content if isinstance(content, str) else ""
