"""Runaway output: a text whose end is one block, repeated over and over."""

from __future__ import annotations

BLOCK_MIN_CHARS = 20
CHECKS_PER_SPAN = 16
CANDIDATES_MAX = 64
"""Lengths of a block that one check tries."""


class Runaway:
    """Sees a text as it grows and says when its last `span` characters are one block of 20 characters or more, repeated
    `repeats` times or more. It keeps those characters only, and looks at them each sixteenth of the span."""

    __slots__ = ("_fresh", "_repeats", "_span", "_tail")

    def __init__(self, span: int, repeats: int) -> None:
        self._span = span
        self._repeats = repeats
        self._tail = ""
        self._fresh = 0

    def add(self, text: str) -> bool:
        """Take a piece in; whether the text runs away."""
        self._tail += text
        self._fresh += len(text)
        if self._fresh * CHECKS_PER_SPAN < self._span:
            return False
        self._fresh = 0
        tail = self._tail = self._tail[-self._span :]
        return len(tail) == self._span and self._repeating(tail)

    def _repeating(self, tail: str) -> bool:
        """Whether the tail has a period that makes enough repeats. A period moves the end onto an earlier occurrence of it,
        so only distances between occurrences of the last block are tried, and multiples of short ones are long enough."""
        size = len(tail)
        longest = size // self._repeats
        end = tail[-BLOCK_MIN_CHARS:]
        place = size - BLOCK_MIN_CHARS
        for _ in range(CANDIDATES_MAX):
            place = tail.rfind(end, 0, place + BLOCK_MIN_CHARS - 1)
            if place < 0:
                return False
            period = size - BLOCK_MIN_CHARS - place
            if period > longest:
                return False
            if tail[period:] == tail[:-period]:
                block = period * -(-BLOCK_MIN_CHARS // period)
                return block <= longest
        return False
