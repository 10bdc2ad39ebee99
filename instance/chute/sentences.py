"""Where sentences end: whole texts split so that the pieces join to the text again, and streams held back by one sentence."""

from __future__ import annotations

import re
from functools import lru_cache

SPLIT_MAX_CHARS = 8_000
SPLIT_KEPT = 64
"""Texts whose sentences are kept: several modules split the same one."""
HOLD_MAX_CHARS = 2_000
"""A piece without an end is cut here, at a space where there is one."""

_END = re.compile(
    r"""[.!?…。！？｡\n](?:     # first what an end begins with: the search then tries no other place
        (?<=[.!?…])(?<![.!?…]{2})[.!?…]*['"”’)\]*_]*(?=\s|\Z)\s*   # a mark, the first of several, what closes with it, and the space behind
      | (?<=[。！？｡])[。！？｡]*[」』”’）]*\s*          # no space stands behind these
      | (?<=\n)\s*\n\s*                             # a paragraph
      | (?<=\n)(?=\s*(?:[-*+•]|\d{1,3}[.)])\s)      # an item of a list begins
    )""",
    re.VERBOSE,
)
_SHORT = "Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|vs|etc|approx|No|Nr|Fig|Vol|Inc|Ltd|Co|Corp|cf|ca|al|bzw|usw|Abs|Art"
_ABBREVIATION = re.compile(rf"(?:\b(?:{_SHORT})|\b(?:[A-Za-z]\.)+[A-Za-z]|\b[A-Z])\.\Z")
_SHORT_ENDS = frozenset(each[-2:] for each in _SHORT.split("|"))
_NUMBERED = re.compile(r"(?:^|\n)\s*\d{1,3}[.)]\s*\Z")


def sentence_ends(text: str) -> list[int]:
    """Indexes at which a sentence ends, the white space behind it included, in order; the text's own end is not one of them
    unless a sentence ends there."""
    ends = []
    for match in _END.finditer(text):
        if text[match.start()] not in ".…" or not _goes_on(text, match.start(), match.end()):
            ends.append(match.end())
    return ends


def last_end(text: str, limit: int) -> int:
    """Where the last sentence ends that ends within so many characters, without the space behind it; 0: nowhere.

    Looks from the limit back. Of a text on one line in which no mark stands beside another it says the same as `sentence_ends`.
    """
    place = limit
    while True:
        place = max(text.rfind(".", 0, place), text.rfind("!", 0, place), text.rfind("?", 0, place))
        if place < 0:
            return 0
        if text.startswith(" ", place + 1):  # as nearly all do
            if ends_sentence(text, place):
                return place + 1
            continue
        match = _END.match(text, place)
        if match is not None and not (text[place] == "." and _goes_on(text, place, match.end())):
            end = place + len(match.group().rstrip())
            if end <= limit:
                return end


def ends_sentence(text: str, place: int) -> bool:
    """Whether a mark with a space or nothing behind it ends a sentence: it is no full stop of an abbreviation."""
    return text[place] != "." or not _goes_on(text, place, place + 1)


def split_sentences(text: str) -> list[str]:
    """The sentences in order; they join to the text. Headings, items and paragraphs count as sentences."""
    return list(_kept_split(text) if len(text) <= SPLIT_MAX_CHARS else _split(text))


@lru_cache(SPLIT_KEPT)
def _kept_split(text: str) -> list[str]:
    return _split(text)


def _split(text: str) -> list[str]:
    pieces, start = [], 0
    for end in sentence_ends(text):
        if end > start:
            pieces.append(text[start:end])
            start = end
    if start < len(text):
        pieces.append(text[start:])
    return pieces


def _goes_on(text: str, start: int, end: int) -> bool:
    """A full stop that ends no sentence: of an abbreviation, an initial, or the number of an item."""
    if text.startswith(("..", "…"), start):
        return text[end : end + 1].islower()
    last = text[max(0, start - 2) : start]
    if len(last) == 2 and last.isalpha() and last not in _SHORT_ENDS:
        return False  # the end of a longer word, as most are
    if _ABBREVIATION.search(text[max(0, start - 23) : start + 1]):
        return True
    return _NUMBERED.search(text[max(0, start - 11) : start + 1]) is not None


class SentenceHold:
    """One text of a stream, given back sentence by sentence: the one that is not complete yet is held."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str, last: bool) -> list[str]:
        """The sentences that are complete now, with `last` also what is left. An end is believed when something follows it."""
        held = self._held + text
        pieces, start = [], 0
        for end in sentence_ends(held):
            if end > start and (last or end < len(held)):
                pieces.append(held[start:end])
                start = end
        rest = held[start:]
        while len(rest) > HOLD_MAX_CHARS:
            cut = rest.rfind(" ", HOLD_MAX_CHARS // 2, HOLD_MAX_CHARS) + 1 or HOLD_MAX_CHARS
            pieces.append(rest[:cut])
            rest = rest[cut:]
        if last and rest:
            pieces.append(rest)
            rest = ""
        self._held = rest
        return pieces
