"""Words of statements that the reference has neither themselves nor anything near: what an answer adds stands in them.

A word that says much and is far in meaning from every word of the reference is something new ("electricity" of a dam that supplies
water); one that is near to some is mostly the same in other words ("stores" for "shops").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from instance.chute.modules.safety.exclusive_words import in_group
from instance.chute.modules.safety.light_words import LIGHT
from instance.chute.modules.safety.measures import is_unit
from instance.chute.modules.safety.parts_of_speech import parts_of_speech
from instance.chute.modules.safety.stated_numbers import WORD_NUMBERS
from instance.chute.modules.safety.weak_meaning import REASONS
from instance.chute.modules.safety.word_stems import LITTLE, stem, words_of

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Vectors

KNOWN_MAX = 150
"""Words of a reference that new ones are compared with, each read by the model once while it is remembered."""
NEW_MAX = 60
FAR, NEAR = 0.4, 0.67
"""Cosines of a word with its nearest from which it is all new, or not new."""
SUBJECT = 0.6
"""What a word counts that a statement begins with: who does it is mostly known by another name."""
SHARED_LETTERS = 5
"""Words that begin with, or hold, as many letters of another are of one family."""
_ENGLISH = frozenset(
    "the of and is was are were it its you your with by from has have had been will can this that they their he she".split()
)
"""Words of which nearly every English statement has one: the model knows the words of other languages less."""


_SHORTENED = re.compile(r"['’](?:s|re|ll|ve|d|m)\Z")
"""What stands behind a pronoun in "it's"."""


class Novelty(NamedTuple):
    """What is new in a statement: words for things, words for doings; and how sure that is."""

    things: float
    doings: float
    english: bool


class NewWords:
    """The new words of statements. `texts` are what `judged` needs the vectors of."""

    def __init__(self, sentences: Sequence[str], whole: str, statements: Sequence[str]) -> None:
        known = {stem(word) for word in map(str.casefold, words_of(whole))}
        self._english: list[bool] = []
        self._firsts: list[str] = []
        self._new: list[list[tuple[str, bool]]] = []
        left = NEW_MAX
        for statement in statements:
            heavy = list(_heavy(statement))
            new = [each for each in heavy if stem(each[0]) not in known and not in_group(each[0])][:left]
            left -= len(new)
            self._english.append(not _ENGLISH.isdisjoint(map(str.casefold, words_of(statement))))
            self._new.append(new)
            self._firsts.append(next(map(str.casefold, words_of(statement)), ""))
        named = list(dict.fromkeys(word for sentence in sentences for word, _ in _heavy(sentence)))[:KNOWN_MAX]
        self._families = named
        self._new = [[each for each in new if not self._is_of_family(each[0])] for new in self._new]
        self._places = {word: place for place, word in enumerate(dict.fromkeys(w for new in self._new for w, _ in new))}
        self.texts = [*self._places, *named] if self._places and named else []

    def judged(self, vectors: Vectors) -> list[Novelty]:
        """For each statement what is new in it."""
        count = len(self._places)
        near = (vectors[:count] @ vectors[count:].T).max(axis=1).tolist() if self.texts else []
        found = []
        for new, english, first in zip(self._new, self._english, self._firsts, strict=True):
            things = doings = 0.0
            for word, does in new:
                far = min(1.0, max(0.0, (NEAR - near[self._places[word]]) / (NEAR - FAR))) if near else 1.0
                if does:
                    doings += far
                else:
                    things += far if word != first else far * SUBJECT
            found.append(Novelty(min(1.0, things), min(1.0, doings), english))
        return found

    def _is_of_family(self, word: str) -> bool:
        """Whether a word of the reference holds the beginning of this one, or the other way round, as compounds do."""
        if "-" in word:
            parts = [part for part in word.split("-") if len(part) > 3]
            return bool(parts) and all(self._is_of_family(part) for part in parts)
        return any(
            each.startswith(word)
            if len(word) < SHARED_LETTERS
            else len(each) >= SHARED_LETTERS
            and (
                each.startswith(word[:SHARED_LETTERS])
                or (len(each) > 6 and each in word)
                or (len(word) > 6 and word in each)
            )
            for each in self._families
        )


def _heavy(text: str) -> Iterator[tuple[str, bool]]:
    """The words of a text that say something, without case, and whether each is for what is done. In a reason all count as things:
    a reason that is not given is a fact of its own."""
    reason = False
    for word, does in parts_of_speech(words_of(text)):
        reason = reason or word in REASONS
        if (
            len(word) > 2
            and not word[0].isdecimal()
            and word not in LIGHT
            and word not in LITTLE
            and _SHORTENED.sub("", word) not in LITTLE
            and word not in WORD_NUMBERS
            and not is_unit(word)
            and not word.endswith(("n't", "n’t"))
        ):
            yield word, does and not reason
