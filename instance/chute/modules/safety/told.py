"""What a sentence says beside its meaning: numbers, what it counts, its words, whether it negates, which ends of scales it names."""

from __future__ import annotations

import re
from functools import cached_property

from instance.chute.modules.safety.stated_numbers import NUMBERS_AND_SHARES, counted, follows, numbers, shares
from instance.chute.quick_look import QuickLook

_WORD = re.compile(r"[^\W\d_][\w'’\-]*")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|\w+n['’]t|nicht|kein\w*|nie(?:mals)?|ne|jamais|aucune?|pas|nunca|ningun\w*|sin|non|senza)\b",
    re.IGNORECASE,
)
_SCALES = (
    (
        r"grew|grown|rose|risen|increas\w+|gain\w*|climbed|went up|doubled|improv\w+",
        r"fell|fallen|drop\w*|decreas\w+|declin\w+|lost|shrank|shrunk|down|halved|worsen\w*",
    ),
    (r"free|free of charge|kostenlos|gratis|gratuit\w*", r"costs?|fee|charged?|kostet|pa(?:y|id)|euros?|dollars?"),
    (r"allowed|permitted|welcome", r"forbidden|prohibited|banned"),
    (r"severe|serious", r"mild|moderate|light"),
    (r"minimum|at least", r"maximum|at most|up to"),
    (r"won|victory", r"defeat\w*|was beaten"),
    (r"largest|biggest|highest|longest|most", r"smallest|lowest|shortest|least"),
    (r"success\w*|succeed\w*|passed", r"fail\w*"),
    (r"daily|per day|a day", r"weekly|per week|a week|monthly|per month"),
    (r"before", r"after"),
)
"""Opposite ends of what is often told the wrong way round."""
_ENDS = tuple(re.compile(rf"\b(?:{end})\b", re.IGNORECASE) for scale in _SCALES for end in scale)
_LOOK = QuickLook(*_ENDS, _NEGATION, NUMBERS_AND_SHARES)
_NEGATION_AT, _NUMBERS_AT = len(_ENDS), len(_ENDS) + 1


class Told:
    """The facts of one text, each found when it is first asked for, and only if one quick look says that it may be there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._may_have = _LOOK(text)

    @cached_property
    def negates(self) -> bool:
        """Whether it holds a negation."""
        return _NEGATION_AT in self._may_have and _NEGATION.search(self.text) is not None

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ends of scales that it names; 2n and 2n + 1 are opposites."""
        return frozenset([n for n in self._may_have if n < len(_ENDS) and _ENDS[n].search(self.text)])

    @cached_property
    def _folded(self) -> str:
        return self.text.casefold()

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words, without case."""
        return frozenset(_WORD.findall(self._folded))

    def says(self, word: str) -> bool:
        """Whether a word, given without case, is among its words; a long text is not split for it."""
        text, size = self._folded, len(word)
        place = text.find(word)
        while place >= 0:
            if _begins_word(text, place) and not _joins(text[place + size : place + size + 1]):
                return True
            place = text.find(word, place + 1)
        return False

    @cached_property
    def plain_words(self) -> frozenset[str]:
        """Its words but for negations."""
        return frozenset(_WORD.findall(_NEGATION.sub(" ", self.text).casefold())) if self.negates else self.words

    @property
    def has_numbers(self) -> bool:
        """Whether it states numbers, counts or names shares."""
        return bool(_NUMBERS_AT in self._may_have and (self.numbers or self.counted or self.shares))

    @cached_property
    def numbers(self) -> set[str]:
        """The numbers that it states."""
        return numbers(self.text) if _NUMBERS_AT in self._may_have else set()

    @cached_property
    def counted(self) -> dict[str, set[str]]:
        """What it counts, and how many."""
        return counted(self.text) if _NUMBERS_AT in self._may_have else {}

    @cached_property
    def shares(self) -> set[float]:
        """Shares of a whole, in per cent."""
        return shares(self.text) if _NUMBERS_AT in self._may_have else set()

    def implies(self, number: str, statement: Told) -> bool:
        """Whether a number of the statement that does not stand here follows from what does."""
        return follows(number, statement.text, statement.shares, self.numbers, self.shares)

    def shared_with(self, other: Told) -> float:
        """The part of its words, but for negations, that the other has too; 0 to 1."""
        own = self.plain_words
        return len(own & other.words) / len(own) if own else 0.0

    def may_oppose(self, other: Told) -> bool:
        """What must be so for it to oppose the other, by a look at the two without their words."""
        return self.negates != other.negates or any((end ^ 1) in other.ends for end in self.ends)

    def opposes(self, other: Told) -> bool:
        """Whether it speaks of one end of a scale, and the other only of the opposite one; or whether one negates what both say."""
        if self.negates != other.negates:
            return self.shared_with(other) >= SAME_WORDS
        return any(
            (end ^ 1) in other.ends and (end ^ 1) not in self.ends and end not in other.ends for end in self.ends
        )


def _joins(character: str) -> bool:
    """Whether a character, or none, goes on with a word that it stands behind."""
    return character.isalnum() or character in _JOINING


def _begins_word(text: str, place: int) -> bool:
    """Whether a word that stands at a place begins there: only digits and marks are before it in its run of characters."""
    for before in range(place - 1, -1, -1):
        character = text[before]
        if not _joins(character):
            return True
        if character.isalnum() and not character.isdecimal():
            return False
    return True


_JOINING = frozenset("_'’-")
SAME_WORDS = 0.6
"""Part of a statement's words in a reference sentence from which the two say the same, or its opposite."""
