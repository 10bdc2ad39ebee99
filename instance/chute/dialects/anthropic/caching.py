"""Marks for the provider's prompt cache, set where a prompt is the same from one call to the next."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

EPHEMERAL: JSON = {"type": "ephemeral"}
_MARKABLE = frozenset(("text", "image", "document", "tool_use", "tool_result"))


def has_marks(body: JSON) -> bool:
    """Whether the request has a mark of the caller's own anywhere."""
    if "cache_control" in body:
        return True
    parts: list[Any] = [*body.get("tools", ()), *body.get("system", ())]
    for message in body["messages"]:
        parts += message["content"]
    return any("cache_control" in part for part in parts if isinstance(part, dict))


def mark_for_cache(body: JSON) -> None:
    """Mark the last tool, the last text of the system and the end of the last-but-one user message."""
    if body.get("tools"):
        body["tools"][-1] = {**body["tools"][-1], "cache_control": EPHEMERAL}
    if body.get("system"):
        body["system"][-1] = {**body["system"][-1], "cache_control": EPHEMERAL}
    users = [message for message in body["messages"] if message["role"] == "user"]
    if len(users) < 2:
        return
    blocks = users[-2]["content"]
    for index in range(len(blocks) - 1, -1, -1):
        if blocks[index].get("type") in _MARKABLE:
            blocks[index] = {**blocks[index], "cache_control": EPHEMERAL}
            return
