"""What a text states in numbers: which, and what they count; and which words it has."""

from __future__ import annotations

from functools import cached_property

from instance.chute.modules.safety.stated_numbers import (
    NUMBERS_AND_SHARES,
    counted,
    follows,
    is_nearly,
    numbers,
    shares,
)
from instance.chute.quick_look import QuickLook

_LOOK = QuickLook(NUMBERS_AND_SHARES)


class Told:
    """The facts of one text, each found when it is first asked for, and only if one quick look says that it may be there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._may_have = bool(_LOOK(text))

    @cached_property
    def _folded(self) -> str:
        return self.text.casefold()

    def says(self, word: str) -> bool:
        """Whether a word, given without case, is among its words; a long text is not split for it."""
        text, size = self._folded, len(word)
        place = text.find(word)
        while place >= 0:
            if _begins_word(text, place) and not _joins(text[place + size : place + size + 1]):
                return True
            place = text.find(word, place + 1)
        return False

    @property
    def has_numbers(self) -> bool:
        """Whether it states numbers, counts or names shares."""
        return self._may_have and bool(self.numbers or self.counted or self.shares)

    @cached_property
    def numbers(self) -> set[str]:
        """The numbers that it states."""
        return numbers(self.text) if self._may_have else set()

    @cached_property
    def counted(self) -> dict[str, set[str]]:
        """What it counts, and how many."""
        return counted(self.text) if self._may_have else {}

    @cached_property
    def shares(self) -> set[float]:
        """Shares of a whole, in per cent."""
        return shares(self.text) if self._may_have else set()

    def implies(self, number: str, statement: Told) -> bool:
        """Whether a number of the statement that does not stand here follows from what does."""
        return follows(number, statement.text, statement.shares, self.numbers, self.shares)

    def nears(self, share: float, statement: Told) -> bool:
        """Whether a share of the statement is one of these made round ("more than 60%" of 62%)."""
        return is_nearly(share, statement.text, self.shares)


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
