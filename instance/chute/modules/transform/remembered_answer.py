"""The answer that a conversation remembers, put together from what the caller got."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.exchange import Exchange

MESSAGE_MAX_CHARS = 200_000
"""A longer message is not remembered, nor the turns with it."""
CALLS_MAX = 64


def collect(kept: dict[int, JSON], calls: Any) -> None:
    """Take the pieces of tool calls of one event."""
    for call in calls:
        index, function = call.get("index", 0), call.get("function") or {}
        if index not in kept and len(kept) >= CALLS_MAX:
            continue
        known = kept.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        known["id"] = call.get("id") or known["id"]
        known["function"]["name"] = function.get("name") or known["function"]["name"]
        if len(known["function"]["arguments"]) < MESSAGE_MAX_CHARS:
            known["function"]["arguments"] += function.get("arguments") or ""


def answer_of(x: Exchange, calls: dict[int, JSON]) -> tuple[JSON, JSON] | None:
    """The first answer as the caller got it, and as it may be stored; `None` when there is nothing to remember."""
    answer = x.answer
    if answer is None or answer.obj is None:
        message: JSON = {"role": "assistant", "content": "".join(x.text_out) or None}
        if calls and x.status != "cancelled":
            message["tool_calls"] = [call for _, call in sorted(calls.items())]
        return (message, message) if message["content"] or message.get("tool_calls") else None
    got = _first(answer.obj)
    stored = _first(orjson.loads(x.stored_response)) if x.stored_response is not None else got
    return (got, stored) if got is not None and stored is not None else None


def _first(obj: JSON) -> JSON | None:
    for choice in obj.get("choices") or ():
        message = choice.get("message") or {}
        made: JSON = {"role": "assistant", "content": message.get("content")}
        if message.get("tool_calls"):
            made["tool_calls"] = message["tool_calls"]
        return made if made["content"] or message.get("tool_calls") else None
    return None
