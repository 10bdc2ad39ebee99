"""Results of tools in a request: whether they answer a call that was made, and how long they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.chute.answer import JSON

RESULT_ROLES = ("tool", "function")
CUT = "\n[cut: the result was longer]"


def results(req: JSON) -> Iterator[tuple[int, JSON]]:
    """Each result with its index among the messages."""
    messages = req.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, dict) and message.get("role") in RESULT_ROLES:
            yield number, message


def last_answer(req: JSON) -> int:
    """The index of the model's last message; -1 where there is none. Results behind it are new."""
    messages = req["messages"]
    for number in range(len(messages) - 1, -1, -1):
        message = messages[number]
        if isinstance(message, dict) and message.get("role") == "assistant":
            return number
    return -1


def unknown_result(req: JSON) -> int | None:
    """The index of the first result that answers no call made before it; `None` when all do."""
    made: set[str] = set()
    for number, message in enumerate(req.get("messages") or ()):
        if not isinstance(message, dict):
            continue
        for call in message.get("tool_calls") or ():
            if isinstance(call, dict) and isinstance(call.get("id"), str):
                made.add(call["id"])
        old = message.get("function_call")
        if isinstance(old, dict):
            made.add(f"function:{old.get('name')}")
        role = message.get("role")
        if role == "tool" and message.get("tool_call_id") not in made:
            return number
        if role == "function" and f"function:{message.get('name')}" not in made:
            return number
    return None


def text_of(message: JSON) -> str:
    """The text of a result."""
    content: Any = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def shortened(req: JSON, most: int) -> JSON:
    """The request with results cut to so many characters; the same object when none is longer."""
    long = {number for number, message in results(req) if len(text_of(message)) > most}
    if not long:
        return req
    messages = [
        {**message, "content": text_of(message)[:most] + CUT} if number in long else message
        for number, message in enumerate(req["messages"])
    ]
    return {**req, "messages": messages}
