"""Where a text may be cut without tearing what a reader sees as one character apart.

A small part of Unicode's rules (UAX #29): combining marks, variation selectors, skin tones, joined emoji, flags, CR LF.
"""

from __future__ import annotations

import unicodedata

JOINER = "\u200d"
LOOK_BACK_MAX = 64
"""Longer chains than any real character are cut all the same."""


def grapheme_floor(text: str, index: int) -> int:
    """The largest place not beyond `index` at which the text may be cut."""
    place = min(index, len(text))
    lowest = max(0, place - LOOK_BACK_MAX)
    while lowest < place < len(text) and _belongs_before(text, place):
        place -= 1
    return place


def _belongs_before(text: str, place: int) -> bool:
    """Whether the character at `place` is of one piece with the one before it."""
    here, before = text[place], text[place - 1]
    if here == JOINER or before == JOINER or (before == "\r" and here == "\n"):
        return True
    if (
        unicodedata.combining(here)
        or unicodedata.category(here) in ("Mn", "Me", "Mc")
        or "\U0001f3fb" <= here <= "\U0001f3ff"
    ):
        return True
    if _is_regional(here) and _is_regional(before):
        count = 0
        while place - 1 - count >= 0 and _is_regional(text[place - 1 - count]):
            count += 1
        return count % 2 == 1
    return False


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
