"""The shared matcher: the patterns of all modules of a plan, so that a text is scanned once for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import re2

from instance.chute.text import SEPARATOR
from instance.chute.text_memory import TextMemory

if TYPE_CHECKING:
    from instance.chute.module import Module

MEMORY_MAX_BYTES = 32 << 20
"""Of the states of an automaton that expressions share."""
OWN_MEMORY_MAX_BYTES = 8 << 20
"""Of the states of each expression that has an automaton of its own."""
SHORT_CHARS = 200
"""An expression longer than that is of words; a shorter one, that can do without any, of kinds of characters."""
ALL_NEW = 2
"""Texts of a call without a history: instructions, which likely come again, and a question."""
FEW = 4
"""So many expressions that reach are no loss in the common automaton: secretscan alone has as many."""
SHARED = 0.75
"""An automaton, or a whole matcher, is used for these expressions too when they are so large a share of its own."""
LONG_CHARS = 8_000
"""Texts of a call that are together as long as that, and new, are scanned beside the event loop: some milliseconds."""
EXPRESSIONS_MAX = 4_096
"""Expressions of which it is remembered what they are."""
NONE: frozenset[int] = frozenset()
Pass = tuple[Callable[[bytes], list[int] | None], list[list[int]]]


class BadPattern(ValueError):
    """An expression that RE2 does not take."""


_REACHES = re.compile(r"\\W[+*]|\\w\+\\W|\.[*+]|\]\*|\{\d+,\d|\\b\\[wWpP]|'\]\+")
"""Expressions that have this may go on over words that do not matter."""


_SEES_THE_END = re.compile(r"\$|\\[zB]")
"""Expressions that have this may match at the end of a text what they do not where it goes on."""


class Matcher:
    """Says which of many RE2 expressions occur in a text; not where. Immutable.

    An expression that reaches over words that do not matter (`ignore`, then some words, then `rules`) multiplies the states of all
    others in one automaton: on prose of many kinds such a one makes new states at nearly every character, a thousand times
    slower. So what stands in one place shares an automaton, and what reaches is filtered: one pass finds the words that the
    expressions cannot do without, and only those that have theirs are then searched for. Those that can do without any word
    share two more automata, the short ones and the long ones; few enough that their states do not multiply much. Fewer passes
    count more than small automata, since in a busy process each pass reads its states from far memory.

    An index counts over all patterns; `of` gives an owner's own. Text that is not valid Unicode (lone surrogates) is
    scanned with those characters replaced.
    """

    __slots__ = ("__weakref__", "_ending", "_near", "_owners", "_passes", "_ranges", "_seen")

    def __init__(self, owners: Iterable[tuple[str, Iterable[str]]], beside: Matcher | None = None) -> None:
        """`owners`: name and expressions of each. `beside`: a matcher for nearly the same, whose automaton is used too where that
        is no loss, as its states are near then. Raises `BadPattern`."""
        self._owners = {owner: tuple(expressions) for owner, expressions in owners}
        self._ranges: dict[str, tuple[int, int]] = {}
        places: dict[str, list[int]] = {}
        count = 0
        for owner, expressions in self._owners.items():
            start = count
            for expression in expressions:
                if expression not in places and (problem := _problem(expression)):
                    raise BadPattern(f"{owner}: {expression!r}: {problem}")
                places.setdefault(expression, []).append(count)
                count += 1
            if count > start:
                self._ranges[owner] = (start, count)
        near, others = _groups(places)
        self._near = _Near(near)
        if beside is not None and beside._near.serves(near):
            self._near = beside._near
        self._passes: tuple[Pass, ...] = (*self._near.passes(places), *others)
        ending = [expression for expression in places if _SEES_THE_END.search(expression)]
        self._ending = _set_of(ending) if ending else None
        self._seen: TextMemory[frozenset[int]] = TextMemory()

    @classmethod
    def build(
        cls,
        modules: Iterable[Module],
        *,
        of_answers: bool = False,
        beside: Matcher | None = None,
        before: Matcher | None = None,
    ) -> Matcher | None:
        """The matcher of the modules' `patterns()`, or `answer_patterns()`; `None` when none of them has any. Raises `BadPattern`.

        Plans that look for the same share one: it takes up to a second to build, and what it has learned of texts stays. The one of
        the plan `before` goes on where it looks for all of that and for little else, as when a module was switched off."""
        owners = ((each.name, tuple(each.answer_patterns() if of_answers else each.patterns())) for each in modules)
        wanted = tuple(sorted(each for each in owners if each[1]))
        if before is not None and before._serves(wanted):
            return before
        made = _living.get(wanted)
        if made is None and wanted:
            made = _living[wanted] = cls(wanted, beside)
        return made

    def _serves(self, wanted: Sequence[tuple[str, tuple[str, ...]]]) -> bool:
        """Whether it looks for what these owners look for, and for little else."""
        there = self._owners
        return (
            bool(wanted)
            and sum(len(expressions) for _, expressions in wanted) >= SHARED * sum(map(len, there.values()))
            and all(there.get(owner) == expressions for owner, expressions in wanted)
        )

    def scan(self, text: str) -> frozenset[int]:
        """Indexes of the patterns that occur in the text."""
        try:
            data = text.encode()
        except UnicodeEncodeError:
            data = text.encode("utf-8", "replace")
        found: list[int] = []
        for match, places in self._passes:
            hits = match(data)
            if hits is not None:
                for hit in hits:
                    found += places[hit]
        return frozenset(found) if found else NONE

    def scan_cut(self, text: str, whole: str) -> frozenset[int]:
        """The same of a text that may be the beginning of one in which nothing was found: where it ends with a sentence, only what
        sees the end of a text can find something in it."""
        if not whole.startswith(text) or not text or text[-1].isalnum() or text[-1] == "_":
            return self.scan(text)
        if self._ending is None or not self._ending(text.encode("utf-8", "replace")):
            return NONE
        return self.scan(text)

    def looks_for(self, owner: str) -> bool:
        """Whether any of the expressions is the owner's."""
        return owner in self._ranges

    def known(self, owner: str, text: str) -> frozenset[int] | None:
        """What of an owner's was found in a text that was scanned and remembered; `None` when that is not known: also when nothing
        of the owner's is looked for here."""
        hits = self._seen.get(text) if owner in self._ranges else None
        return None if hits is None else self.of(owner, hits)

    def remember(self, text: str, hits: frozenset[int]) -> None:
        """Keep what was found in a text that will come again, as an answer in a session does."""
        self._seen.keep(text, hits)

    def scan_texts(self, texts: Sequence[str], *, recur: bool = False) -> frozenset[int]:
        """Indexes of the patterns that occur in any of the texts. What was found in a conversation's texts is remembered; `recur`
        says that they are such a one's, however few they are."""
        seen = self._seen
        if not recur and len(texts) <= ALL_NEW and (not texts or len(texts[-1]) < LONG_CHARS):
            if len(texts) < ALL_NEW:
                return self.scan(_joined(texts)) if texts else NONE
            first, last = texts
            known = seen.get(first)
            if known is None:
                known = seen.keep(first, self.scan(_joined((first,))))
            found = self.scan(_joined((last,)))
            return found | known if known else found
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

    def must_read(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that are to be scanned ahead: new ones, when they are long together."""
        if sum(map(len, texts)) < LONG_CHARS:
            return []
        seen = self._seen
        new = [text for text in texts if seen.get(text) is None]
        return new if sum(map(len, new)) >= LONG_CHARS else []

    def read(self, texts: Sequence[str]) -> frozenset[int]:
        """Scan each of the texts and remember what was found, and say what in all. May be called on any thread: RE2 lets others run."""
        hits = NONE
        for text in texts:
            hits |= self._seen.keep(text, self.scan(_joined((text,))))
        return hits

    def of(self, owner: str, hits: frozenset[int]) -> frozenset[int]:
        """Those of the hits that are the owner's, counted from its own first pattern."""
        place = self._ranges.get(owner)
        if place is None or not hits:
            return NONE
        start, stop = place
        own = [hit - start for hit in hits if start <= hit < stop]
        return frozenset(own) if own else NONE


_living: WeakValueDictionary[tuple[tuple[str, tuple[str, ...]], ...], Matcher] = WeakValueDictionary()
"""The matchers of plans that are in use, by what they look for."""


@lru_cache(EXPRESSIONS_MAX)
def _problem(expression: str) -> str:
    """Why RE2 does not take an expression; empty: it does."""
    try:
        re2.Set.SearchSet(_options(MEMORY_MAX_BYTES)).Add(expression)
    except re2.error as error:
        return _reason(error)
    return ""


@lru_cache(EXPRESSIONS_MAX)
def _is_wordless(expression: str) -> bool:
    """Whether it may match a text without any word of its own."""
    return bool(_filter((expression,)).Match(b"\1", potential=True))


class _Near:
    """The automaton of the expressions that stand in one place; made when it is first used."""

    def __init__(self, expressions: Sequence[str]) -> None:
        self._expressions = expressions
        self._match: Callable[[bytes], list[int] | None] | None = None

    def serves(self, expressions: Sequence[str]) -> bool:
        """Whether it looks for all of these, and for little else."""
        return len(expressions) >= SHARED * len(self._expressions) and set(expressions) <= set(self._expressions)

    def passes(self, places: dict[str, list[int]]) -> Iterable[Pass]:
        if self._expressions:
            if self._match is None:
                self._match = _set_of(self._expressions)
            yield self._match, [places.get(expression, []) for expression in self._expressions]


def _groups(places: dict[str, list[int]]) -> tuple[list[str], list[Pass]]:
    """The expressions that stand in one place, and what goes over a text for the others."""
    reaching = [expression for expression in places if _REACHES.search(expression)]
    if len(reaching) <= FEW:
        reaching = []
    near = [expression for expression in places if expression not in reaching]
    groups: dict[str, list[str]] = {"filtered": [], "short": [], "long": []}
    for expression in reaching:
        size = "short" if len(expression) < SHORT_CHARS else "long"
        groups[size if _is_wordless(expression) else "filtered"].append(expression)
    passes: list[Pass] = []
    for each in (groups["short"], groups["long"]):
        if each:
            passes.append((_set_of(each), [places[expression] for expression in each]))
    if filtered := groups["filtered"]:
        passes.append((_filter(filtered).Match, [places[expression] for expression in filtered]))
    return near, passes


def _set_of(expressions: Sequence[str]) -> Callable[[bytes], list[int] | None]:
    together = re2.Set.SearchSet(_options(MEMORY_MAX_BYTES))
    for expression in expressions:
        together.Add(expression)
    together.Compile()
    match: Callable[[bytes], list[int] | None] = together.Match
    return match


def _filter(expressions: Sequence[str]) -> Any:
    made = re2.Filter()
    options = _options(OWN_MEMORY_MAX_BYTES)
    for expression in expressions:
        made.Add(expression, options)
    made.Compile()
    return made


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
