"""Which sentences of a long reference are worth comparing by meaning with what an answer states: those that share its words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from math import log

STEM_CHARS = 5
"""Words that begin alike count as one: "delivered" and "delivery"."""
_WORD = re.compile(r"\d+|\w{4,}")


def near_sentences(sentences: Sequence[str], statements: Sequence[str], most: int) -> list[int]:
    """The places of the sentences that share most with the statements, in order: of each statement as many, those with rare words
    before those with common ones, and from the beginning what is left of `most`."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, sentence in enumerate(sentences):
        for word in _words(sentence):
            places[word].append(place)
    chosen: set[int] = set()
    ranked = [_ranked(statement, places, len(sentences)) for statement in statements]
    for rank in range(most):
        if len(chosen) >= most or all(len(each) <= rank for each in ranked):
            break
        for each in ranked:
            if rank < len(each) and len(chosen) < most:
                chosen.add(each[rank])
    for place in range(len(sentences)):
        if len(chosen) >= most:
            break
        chosen.add(place)
    return sorted(chosen)


def _ranked(statement: str, places: dict[str, list[int]], count: int) -> list[int]:
    """The sentences that share words with a statement, those that share most first."""
    shared: dict[int, float] = defaultdict(float)
    for word in _words(statement):
        at = places.get(word, ())
        for place in at:
            shared[place] += log(1 + count / len(at))
    return sorted(shared, key=lambda place: (-shared[place], place))


def _words(text: str) -> set[str]:
    return {word[:STEM_CHARS] for word in _WORD.findall(text.casefold())}
