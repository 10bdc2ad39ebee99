"""What a sentence says beside its meaning: numbers, what it counts, its words, whether it negates, which ends of scales it names."""

from __future__ import annotations

import re
from functools import cached_property

from instance.chute.modules.safety.stated_numbers import NUMBERS_AND_SHARES, counted, numbers, shares
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
    def words(self) -> frozenset[str]:
        """Its words, without case."""
        return frozenset(_WORD.findall(self.text.casefold()))

    @cached_property
    def plain_words(self) -> frozenset[str]:
        """Its words but for negations."""
        return frozenset(_WORD.findall(_NEGATION.sub(" ", self.text).casefold())) if self.negates else self.words

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

    def shared_with(self, other: Told) -> float:
        """The part of its words, but for negations, that the other has too; 0 to 1."""
        own = self.plain_words
        return len(own & other.words) / len(own) if own else 0.0

    def opposes(self, other: Told) -> bool:
        """Whether it speaks of one end of a scale, and the other only of the opposite one; or whether one negates what both say."""
        if self.negates != other.negates:
            return self.shared_with(other) >= SAME_WORDS
        return any(
            (end ^ 1) in other.ends and (end ^ 1) not in self.ends and end not in other.ends for end in self.ends
        )


SAME_WORDS = 0.6
"""Part of a statement's words in a reference sentence from which the two say the same, or its opposite."""
