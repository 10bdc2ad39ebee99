"""Words added to a request's instructions, wherever those stand."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

SYSTEM_ROLES = ("system", "developer")
_own_notes: dict[str, None] = {}


def own_note(text: str) -> str:
    """The text, known from now on as a fixed one of ours that tells the model how to answer."""
    _own_notes[text] = None
    return text


def without_own_notes(text: str) -> str:
    """Instructions without the fixed texts of ours in them: none of these is anything that an answer rests on."""
    for note in _own_notes:
        if note in text:
            text = text.replace(note, "")
    return text


def with_system_text(messages: list[JSON], text: str, *, before: bool) -> list[JSON]:
    """The messages with `text` before or after what the first system message says, or as a new one; the given list stays."""
    first = messages[0] if messages else {}
    if first.get("role") not in SYSTEM_ROLES:
        return [{"role": "system", "content": text}, *messages]
    content: Any = first.get("content")
    joined: Any
    if type(content) is str and content and text:
        joined = f"{text}\n\n{content}" if before else f"{content}\n\n{text}"
    elif isinstance(content, list):
        part = {"type": "text", "text": text}
        joined = [part, *content] if before else [*content, part]
    else:
        joined = "\n\n".join(filter(None, (text, content) if before else (content, text)))
    return [{**first, "content": joined}, *messages[1:]]
