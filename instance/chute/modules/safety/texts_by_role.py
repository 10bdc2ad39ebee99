"""Whose texts a request holds: the role behind a place, and what was said since the last answer by those asked for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from instance.chute.answer import JSON
from instance.chute.text import INPUTS, rewrite_request

_INPUTS = frozenset(INPUTS)
_ROLES = {"developer": "system", "function": "tool"}
"""Roles that count as another one."""


def role_at(req: JSON, place: str) -> str:
    """Whose text stands at a place of the request."""
    if not place.startswith("messages["):
        return "user"
    if ".tool_calls[" in place or ".function_call" in place:
        return "tool"
    message: Any = req["messages"][int(place[9 : place.index("]")])]
    role = message.get("role")
    return _ROLES.get(role, role) if isinstance(role, str) else "user"


def new_texts_by_role(req: JSON, roles: Collection[str], passages: str | None) -> list[tuple[str, str, str]]:
    """Place, role and text of what these roles said behind the last answer, and of the `passages` that were put in."""
    messages = req.get("messages")
    if type(messages) is list:
        if passages is None and _INPUTS.isdisjoint(req):
            plain = plain_texts_by_role(messages, roles)
            if plain is not None:
                return plain
        first = len(messages)
        while first and not _is_answer(messages[first - 1]):
            first -= 1
        req = {**req, "messages": [*[None] * first, *messages[first:]]}
    found = [("passages", "tool", passages)] if passages else []

    def look(text: str, place: str) -> str:
        role = role_at(req, place)
        if role in roles and text and (passages is None or passages not in text):
            found.append((place, role, text))
        return text

    rewrite_request(req, look)
    return found


def plain_texts_by_role(messages: list[Any], roles: Collection[str]) -> list[tuple[str, str, str]] | None:
    """The same of messages that are a role and a text each; `None` when one is not."""
    found: list[tuple[str, str, str]] = []
    place = len(messages)
    for message in reversed(messages):
        place -= 1
        if type(message) is not dict:
            return None
        role = message.get("role")
        if role == "assistant":
            break
        text = message.get("content")
        if len(message) != 2 or type(role) is not str or type(text) is not str:
            return None
        role = _ROLES.get(role, role)
        if text and role in roles:
            found.append((f"messages[{place}].content", role, text))
    if len(found) > 1:
        found.reverse()
    return found


def _is_answer(message: Any) -> bool:
    return type(message) is dict and message.get("role") == "assistant"
