"""The shared matcher: the patterns of all modules of a plan, so that a text is scanned once for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import re2

from instance.chute.text import SEPARATOR
from instance.chute.text_memory import TextMemory

if TYPE_CHECKING:
    from instance.chute.module import Module

MEMORY_MAX_BYTES = 32 << 20
"""Of the automaton's states."""
FAR_MEMORY_MAX_BYTES = 8 << 20
"""Of the states of each expression that has an automaton of its own."""
ALL_NEW = 2
"""Texts that are likely new: instructions and a question, without a history."""
NONE: frozenset[int] = frozenset()


class BadPattern(ValueError):
    """An expression that RE2 does not take."""


_REACHES = re.compile(r"\\W[+*]|\\w\+\\W|\.[*+]|\]\*|\{\d+,\d|\\b\\[wWpP]|'\]\+")
"""Expressions that have this may go on over words that do not matter."""


class Matcher:
    """Says which of many RE2 expressions occur in a text; not where. Immutable.

    An expression that reaches over words that do not matter (`ignore`, then some words, then `rules`) multiplies the states of all
    others in one automaton: on prose of many kinds such a one makes new states at nearly every character, a thousand times
    slower. So only those that stand in one place share an automaton. The others are filtered: one pass finds the words that they
    cannot do without, and only those that have theirs are then searched for.

    An index counts over all patterns; `of` gives an owner's own. Text that is not valid Unicode (lone surrogates) is
    scanned with those characters replaced.
    """

    __slots__ = ("_far", "_far_at", "_near", "_near_at", "_ranges", "_seen")

    def __init__(self, owners: Iterable[tuple[str, Iterable[str]]]) -> None:
        """`owners`: name and expressions of each. Raises `BadPattern`."""
        near, far = re2.Set.SearchSet(_options(MEMORY_MAX_BYTES)), re2.Filter()
        options = _options(FAR_MEMORY_MAX_BYTES)
        self._ranges: dict[str, tuple[int, int]] = {}
        self._near_at: list[list[int]] = []
        """Where each of the automaton's expressions stands among all: more than once if owners share it."""
        self._far_at: list[list[int]] = []
        places: dict[str, list[int]] = {}
        count = 0
        for owner, expressions in owners:
            start = count
            for expression in expressions:
                known = places.get(expression)
                if known is None:
                    known = places[expression] = []
                    try:
                        if _REACHES.search(expression):
                            far.Add(expression, options)
                            self._far_at.append(known)
                        else:
                            near.Add(expression)
                            self._near_at.append(known)
                    except re2.error as error:
                        raise BadPattern(f"{owner}: {expression!r}: {_reason(error)}") from None
                known.append(count)
                count += 1
            if count > start:
                self._ranges[owner] = (start, count)
        near.Compile()
        far.Compile()
        self._near: Callable[[bytes], list[int] | None] | None = near.Match if self._near_at else None
        self._far: Callable[[bytes], list[int] | None] | None = far.Match if self._far_at else None
        self._seen: TextMemory[frozenset[int]] = TextMemory()

    @classmethod
    def build(cls, modules: Iterable[Module], *, of_answers: bool = False) -> Matcher | None:
        """The matcher of the modules' `patterns()`, or `answer_patterns()`; `None` when none of them has any. Raises `BadPattern`."""
        owners = [(each.name, each.answer_patterns() if of_answers else each.patterns()) for each in modules]
        found = [each for each in owners if each[1]]
        return cls(found) if found else None

    def scan(self, text: str) -> frozenset[int]:
        """Indexes of the patterns that occur in the text."""
        try:
            data = text.encode()
        except UnicodeEncodeError:
            data = text.encode("utf-8", "replace")
        near, far = self._near, self._far
        hits = near(data) if near is not None else None
        others = far(data) if far is not None else None
        if hits is None and others is None:
            return NONE
        found = [place for hit in hits for place in self._near_at[hit]] if hits else []
        if others:
            found += [place for hit in others for place in self._far_at[hit]]
        return frozenset(found)

    def known(self, text: str) -> frozenset[int] | None:
        """What was found in a text that was scanned and remembered; `None` when it is not known."""
        return self._seen.get(text)

    def remember(self, text: str, hits: frozenset[int]) -> None:
        """Keep what was found in a text that will come again, as an answer in a session does."""
        self._seen.keep(text, hits)

    def scan_texts(self, texts: Sequence[str], *, recur: bool = False) -> frozenset[int]:
        """Indexes of the patterns that occur in any of the texts. What was found in a conversation's texts is remembered; `recur`
        says that they are such a one's, however few they are."""
        if not recur and len(texts) <= ALL_NEW:
            if not texts:
                return NONE
            return self.scan(_joined(texts))
        seen = self._seen
        hits, new = NONE, []
        for text in texts:
            known = seen.get(text)
            if known is None:
                new.append(text)
            elif known:
                hits |= known
        if not new:
            return hits
        if len(new) == 1:
            found = seen.keep(new[0], self.scan(_joined(new)))
        else:
            found = self.scan(_joined(new))
            for text in new:
                seen.keep(text, self.scan(_joined((text,))) if found else NONE)
        return hits | found if found else hits

    def of(self, owner: str, hits: frozenset[int]) -> frozenset[int]:
        """Those of the hits that are the owner's, counted from its own first pattern."""
        place = self._ranges.get(owner)
        if place is None or not hits:
            return NONE
        start, stop = place
        own = [hit - start for hit in hits if start <= hit < stop]
        return frozenset(own) if own else NONE


def _options(memory_bytes: int) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = memory_bytes
    return options


def _joined(texts: Sequence[str]) -> str:
    """The texts in one; a NUL stands between them only, so that an expression may say by it that it ends with a text."""
    text = texts[0] if len(texts) == 1 else SEPARATOR.join(texts)
    if text.count("\0") == len(texts) - 1:
        return text
    return SEPARATOR.join([each.replace("\0", "\1") for each in texts])


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
