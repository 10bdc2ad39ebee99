"""A conversation as it is remembered: its turns, and the digests by which they are known again."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

TURNS_MAX = 1_000
"""Turns of one session; the oldest are forgotten beyond it."""
DIGEST_BYTES = 16


class Turn(NamedTuple):
    """One message. `digest` is of the form in which its caller knows it, `message` the form that may be stored."""

    message: dict[str, Any]
    digest: bytes
    tokens: int
    at_ns: int
    cut: bool = False


@dataclass(slots=True)
class Session:
    """One conversation. `first` is the number of `turns[0]`; of the turns, those before `clean` are in the database as they are."""

    id: str
    identity: bytes
    origin: str
    name: str
    user: str
    team: str
    key: str
    expires_at_ns: int
    updated_at_ns: int
    turns: list[Turn] = field(default_factory=list)
    first: int = 0
    clean: int = 0
    summary: str = ""
    summarised: int = 0
    """Number of the first turn that the summary does not cover."""
    pinned: bool = False
    size: int = 0
    """About how many bytes the turns are."""

    def add(self, turns: list[Turn], after: int | None = None) -> None:
        """Append turns; with `after`, in the place of those from that one on."""
        if after is not None and after < len(self.turns):
            self.size -= _size_of(self.turns[after:])
            del self.turns[after:]
            self.clean = min(self.clean, after)
        self.turns += turns
        self.size += _size_of(turns)
        over = len(self.turns) - TURNS_MAX
        if over > 0:
            self.size -= _size_of(self.turns[:over])
            del self.turns[:over]
            self.first += over
            self.clean = max(0, self.clean - over)

    @property
    def tokens(self) -> int:
        return sum(turn.tokens for turn in self.turns)

    def over(self, now_ns: int) -> bool:
        """Whether its time is over."""
        return not self.pinned and self.expires_at_ns <= now_ns


def _size_of(turns: list[Turn]) -> int:
    return sum([turn.tokens for turn in turns]) * 4 + 200 * len(turns)


def identity_of(*parts: str) -> bytes:
    """Whose session it is, as a digest that cannot be guessed across keys."""
    return blake2b(orjson.dumps(parts), digest_size=DIGEST_BYTES).digest()


def digest_of(message: dict[str, Any]) -> bytes:
    """By what a message is known again: its role and words, whatever the white space; a call's tools, a result's id."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        others = [part for part in content if not (isinstance(part, dict) and isinstance(part.get("text"), str))]
        content = "\n".join(texts) if not others else [texts, others]
    words = " ".join(content.split()) if isinstance(content, str) else content or ""
    calls = [
        (call.get("id"), (call.get("function") or {}).get("name"))
        for call in message.get("tool_calls") or ()
        if isinstance(call, dict)
    ]
    known = (message.get("role"), words, calls, message.get("tool_call_id"))
    return blake2b(orjson.dumps(known, option=orjson.OPT_SORT_KEYS), digest_size=DIGEST_BYTES).digest()
