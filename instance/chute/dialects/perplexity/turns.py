"""Perplexity's rule of turns: system first, then user and assistant strictly in turn, the user's last."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

EARLIER = "Earlier in this conversation you said:"
GO_ON = "Go on."
_SYSTEM = frozenset(("system", "developer"))


def in_turns(messages: list[JSON]) -> list[JSON]:
    """The messages by that rule; the same list when they keep it already.

    Adjacent turns of one role are joined. An assistant's turn before the user's first becomes quoted text of the user's;
    results of tools become the user's text. Nothing the model was told is lost.
    """
    if _kept(messages):
        return messages
    system: Any = None
    turns: list[JSON] = []
    for message in messages:
        role = message.get("role")
        content = message.get("content")
        if role in _SYSTEM:
            system = content if system is None else _joined(system, content)
            continue
        if role in ("tool", "function"):
            role, content = "user", f"Result of the tool call:\n{_plain(content)}"
        if content is None or content == "" or content == []:
            continue
        if role == "assistant" and not turns:
            role, content = "user", _quoted(content)
        if turns and turns[-1]["role"] == role:
            turns[-1] = {"role": role, "content": _joined(turns[-1]["content"], content)}
        else:
            turns.append({"role": role, "content": content})
    if not turns or turns[-1]["role"] == "assistant":
        turns.append({"role": "user", "content": GO_ON})
    return ([{"role": "system", "content": system}] if system is not None else []) + turns


def _kept(messages: list[JSON]) -> bool:
    rest = messages[1:] if messages[0].get("role") == "system" else messages
    wanted = "user"
    for message in rest:
        if message.get("role") != wanted or not set(message) <= {"role", "content"} or not message.get("content"):
            return False
        wanted = "assistant" if wanted == "user" else "user"
    return bool(rest) and wanted == "assistant"


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}\n\n{other}"
    return [*_parts(one), *_parts(other)]


def _parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _plain(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content or ""


def _quoted(content: Any) -> str:
    return EARLIER + "\n" + "\n".join(f"> {line}" for line in _plain(content).splitlines())
