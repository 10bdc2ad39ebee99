"""Tool-call ids as Mistral takes them: nine letters or digits. Others are mapped to such, always to the same one."""

from __future__ import annotations

from hashlib import sha256

from instance.chute.answer import JSON

LENGTH = 9
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def short_id(call_id: str) -> str:
    """The id itself where Mistral takes it, else nine characters of its hash (53 bits)."""
    if len(call_id) == LENGTH and call_id.isascii() and call_id.isalnum():
        return call_id
    number = int.from_bytes(sha256(call_id.encode()).digest()[:8], "big")
    found = []
    for _ in range(LENGTH):
        number, digit = divmod(number, 62)
        found.append(_DIGITS[digit])
    return "".join(found)


def with_short_ids(message: JSON) -> JSON:
    """A message whose tool-call ids Mistral takes; the same object when they are such already."""
    call_id = message.get("tool_call_id")
    if isinstance(call_id, str) and short_id(call_id) != call_id:
        message = {**message, "tool_call_id": short_id(call_id)}
    calls = message.get("tool_calls")
    if isinstance(calls, list) and any(
        isinstance(call.get("id"), str) and short_id(call["id"]) != call["id"] for call in calls
    ):
        short = [{**call, "id": short_id(call["id"])} if isinstance(call.get("id"), str) else call for call in calls]
        message = {**message, "tool_calls": short}
    return message
