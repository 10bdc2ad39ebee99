"""Long texts in blocks, so that only those parts are read closely in which there may be something."""

from __future__ import annotations

from collections.abc import Callable

BLOCKS_FROM_CHARS = 4_000
"""Shorter texts are read whole."""
BLOCK_CHARS = 1_000
REACH_CHARS = 400
"""So far from what occurs may stand what belongs to it."""


def parts_near(text: str, occurs: Callable[[str], object]) -> list[tuple[int, str]]:
    """Where the parts of a text begin in which `occurs` finds something, and these, in order: each with what stands `REACH_CHARS`
    around, so that no two overlap. They begin and end with words, and with lines where these are not long."""
    spans: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        end = _cut(text, start + BLOCK_CHARS, start)
        if occurs(text[start : _cut(text, end + REACH_CHARS, end)]):
            first = _cut(text, max(0, start - REACH_CHARS), 0)
            last = _cut(text, end + 2 * REACH_CHARS, end + REACH_CHARS)
            if spans and first <= spans[-1][1]:
                spans[-1] = spans[-1][0], last
            else:
                spans.append((first, last))
        start = end
    return [(first, text[first:last]) for first, last in spans]


def _cut(text: str, place: int, least: int) -> int:
    """Where a text is cut near a place: behind a line or a word that ends before it, half the way back to `least` at most."""
    if place >= len(text):
        return len(text)
    half = least + (place - least) // 2
    for mark in "\n ":
        found = text.rfind(mark, half, place)
        if found >= 0:
            return found + 1
    return place
