"""Cutting an answer short where a reader would stop: at a sentence, at a word, never inside a character or an open code fence."""

from __future__ import annotations

from typing import Literal

from instance.chute.graphemes import grapheme_floor
from instance.chute.sentences import sentence_ends

CutAt = Literal["sentence", "word", "hard"]
FENCE = "```"


def cut(text: str, limit: int, at: CutAt, marker: str) -> str:
    """At most `limit` characters of the text and the marker behind them; a fence that stands open is closed."""
    kept = text[: _place(text, limit, at)].rstrip()
    if _stands_open(kept) and text[len(kept) : len(kept) + 1] != "\n":
        kept = _without_half_line(kept)
    return kept + ending(kept, marker)


def ending(kept: str, marker: str) -> str:
    """What goes behind a text that is cut: the marker, after the end of a fence that stands open."""
    if not _stands_open(kept):
        return marker
    return f"{'' if kept.endswith(chr(10)) else chr(10)}{FENCE}{chr(10)}{marker}"


def _place(text: str, limit: int, at: CutAt) -> int:
    """Where to cut: the last sentence end in the final half, else the last space in it, else the last whole character."""
    if at == "sentence":
        # Looked for a little beyond the limit, so that an end just at it is known for one.
        ends = [end for end in sentence_ends(text[: limit + 2]) if limit // 2 < len(text[:end].rstrip()) <= limit]
        if ends:
            return len(text[: ends[-1]].rstrip())
    if at != "hard":
        space = max(text.rfind(" ", limit // 2, limit + 1), text.rfind("\n", limit // 2, limit + 1))
        if space > 0:
            return space
    return grapheme_floor(text, limit)


def _stands_open(text: str) -> bool:
    return sum(line.lstrip().startswith(FENCE) for line in text.split("\n")) % 2 == 1


def _without_half_line(text: str) -> str:
    """The text up to its last whole line: half a line of code is worth nothing. Not without the line that opens the fence."""
    line = text.rfind("\n")
    return text[:line] if line > 0 and _stands_open(text[:line]) else text


class CutStream:
    """One choice of a stream: passes text on until the limit is near, then holds the sentence that may be the last."""

    __slots__ = ("_at", "_held", "_limit", "_marker", "_near", "_room", "_sent", "ended")

    def __init__(self, limit: int, at: CutAt, marker: str, near: int) -> None:
        self._limit = limit
        self._at = at
        self._marker = marker
        self._near = near
        self._sent: list[str] = []
        self._room = limit - near
        """Characters that may come before the limit is near."""
        self._held = ""
        self.ended = False
        """The limit was reached: what was last given back is the end."""

    def passed(self, text: str, last: bool) -> str | None:
        """The text as it is, the limit being far: it is taken then; `None`: it has to be fed."""
        room = self._room - len(text)
        if room < 0 or last:
            return None
        self._room = room
        self._sent.append(text)
        return text

    def feed(self, text: str, last: bool) -> str:
        """What may be sent now."""
        if self.ended:
            return ""
        sent = "".join(self._sent)
        self._sent = [sent]
        whole = sent + self._held + text
        self._room = self._limit - self._near - len(whole)
        if len(whole) > self._limit + (not last):  # one more is known then: an end just at the limit is one
            self.ended = True
            self._room = -1
            self._held = ""
            kept = cut(whole, self._limit, self._at, self._marker)
            return kept[len(sent) :] if kept.startswith(sent) else ending(sent, self._marker)
        place = len(whole)
        if not last and place > self._limit - self._near:
            ends = [end for end in sentence_ends(whole) if len(sent) <= end < place]
            place = ends[-1] if ends else max(len(sent), self._limit - self._near)
            place = max(len(sent), len(whole[:place].rstrip()))  # the space belongs to what follows, if anything does
        self._held = whole[place:]
        ready = whole[len(sent) : place]
        self._sent.append(ready)
        return ready
