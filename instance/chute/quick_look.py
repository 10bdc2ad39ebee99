"""Whether any of many Python expressions could occur in a text, in one pass of RE2: only those that could are then searched.

Python's `re` walks a text once for each expression and tries each place; most texts hold nothing of what is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import re2

REPEATS_MAX = 6
"""Longer counted repeats are looked for from this many on: automata grow with every count."""
MEMORY_MAX_BYTES = 16 << 20

_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\p{Nd}",
    op.CATEGORY_SPACE: r"\s\x{0b}\x{1c}-\x{1f}\x{85}\p{Z}",
    op.CATEGORY_WORD: r"\pL\pM\pN_",
}
_OTHERS = {
    # RE2 knows fewer characters than Python's Unicode tables: what may not be one of these is any that is no ASCII one.
    op.CATEGORY_NOT_DIGIT: r"\x{0}-\x{2f}\x{3a}-\x{10ffff}",
    op.CATEGORY_NOT_SPACE: r"\x{0}-\x{8}\x{e}-\x{1b}\x{21}-\x{10ffff}",
    op.CATEGORY_NOT_WORD: r"\x{0}-\x{2f}\x{3a}-\x{40}\x{5b}-\x{5e}\x{60}\x{7b}-\x{10ffff}",
}
_ANYTHING = r"(?s:.)*"
_BOUNDARY = (op.AT, op.AT_BOUNDARY)
_NO_WORD = "[^0-9A-Za-z_]"
"""What may stand beyond a boundary at a character of a word; some that Python takes for letters too."""
_FOLDED_I = r"\x{130}\x{131}"
"""Turkish letters that Python takes for an `i` where case does not count, and RE2 does not."""
_I = frozenset(map(ord, "iI"))


class QuickLook:
    """`look(text)` gives the indexes of the expressions that may occur in it; one that is not among them does not.

    An index stands for an expression or a tuple of them: for a tuple it is there when any of them may occur.
    """

    __slots__ = ("_all", "_match", "_of")

    def __init__(self, *expressions: re.Pattern[str] | Sequence[re.Pattern[str]]) -> None:
        options = re2.Options()
        options.log_errors = False
        options.max_mem = MEMORY_MAX_BYTES
        patterns = re2.Set.SearchSet(options)
        self._of: list[int] = []
        for index, given in enumerate(expressions):
            for expression in (given,) if isinstance(given, re.Pattern) else given:
                patterns.Add(wider(expression))
                self._of.append(index)
        patterns.Compile()
        self._match = patterns.Match
        self._all = frozenset(range(len(expressions)))

    def __call__(self, text: str) -> frozenset[int]:
        try:
            data = text.encode()
        except UnicodeEncodeError:
            return self._all
        hits = self._match(data)
        if not hits:
            return _NONE
        of = self._of
        return frozenset([of[hit] for hit in hits])


_NONE: frozenset[int] = frozenset()


def wider(expression: re.Pattern[str]) -> str:
    """An RE2 expression that occurs wherever the given one does, and perhaps elsewhere: without what must stand before or behind,
    references and upper counts, and with boundaries and `(?m)^` only at its own begin and end."""
    tree = _parser.parse(expression.pattern, expression.flags)
    items = list(tree)
    before = after = ""
    if items and items[0] == (op.AT, op.AT_BEGINNING) and tree.state.flags & re.MULTILINE:
        before = "(?m:^)"
    if len(items) > 1 and items[0] == _BOUNDARY and _at_word(items[1:], 1):
        before = f"(?:^|{_NO_WORD})"
    if len(items) > 1 and items[-1] == _BOUNDARY and _at_word(items[:-1], -1):
        after = f"(?:$|{_NO_WORD})"
    return ("(?i)" if tree.state.flags & re.IGNORECASE else "") + before + _sequence(items) + after


def _at_word(items: Sequence[tuple[Any, Any]], step: int) -> bool:
    """Whether what the items take begins (`step` 1) or ends (-1) with a character of a word, whatever it is."""
    for kind, value in items[::step]:
        if kind is op.LITERAL:
            return _is_word(chr(value))
        if kind is op.IN:
            return all(_of_words(*member) for member in value)
        if kind is op.BRANCH:
            return all(_at_word(each, step) for each in value[1])
        if kind is op.SUBPATTERN:
            return _at_word(value[3], step)
        if kind is not op.MAX_REPEAT or not _at_word(value[2], step):
            return False
        if value[0]:
            return True
    return False


def _of_words(kind: Any, value: Any) -> bool:
    """Whether a member of a set stands for characters of words alone."""
    if kind is op.RANGE:
        return bool(value[1] < 128) and all(map(_is_word, map(chr, range(value[0], value[1] + 1))))
    return _is_word(chr(value)) if kind is op.LITERAL else value in (op.CATEGORY_WORD, op.CATEGORY_DIGIT)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _sequence(items: Iterable[tuple[Any, Any]]) -> str:
    return "".join(_piece(kind, value) for kind, value in items)


def _piece(kind: Any, value: Any) -> str:
    if kind is op.LITERAL:
        return f"[iI{_FOLDED_I}]" if value in _I else f"\\x{{{value:x}}}"
    if kind is op.NOT_LITERAL:
        return f"[^\\x{{{value:x}}}]"
    if kind is op.ANY:
        return "(?s:.)"
    if kind is op.IN:
        return _set(value)
    if kind is op.BRANCH:
        return "(?:" + "|".join(_sequence(each) for each in value[1]) + ")"
    if kind is op.SUBPATTERN:
        _, add_flags, _, inner = value
        return f"(?i:{_sequence(inner)})" if add_flags & re.IGNORECASE else f"(?:{_sequence(inner)})"
    if kind is op.ATOMIC_GROUP:
        return f"(?:{_sequence(value)})"
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        least, most, inner = value
        return _repeat(f"(?:{_sequence(inner)})", least, most)
    if kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return ""
    return _ANYTHING  # references and conditions


def _repeat(inner: str, least: int, most: int) -> str:
    if most <= 1:
        return inner + ("?" if least == 0 else "")
    if least == 0:
        return inner + "*"
    return inner + (f"{{{min(least, REPEATS_MAX)},}}" if least > 1 else "+")


def _set(items: Sequence[tuple[Any, Any]]) -> str:
    negated = items[0][0] is op.NEGATE
    inner = "".join(_member(kind, value, negated=negated) for kind, value in items[negated:])
    return f"[{'^' * negated}{inner}]" if inner else "(?s:.)"


def _member(kind: Any, value: Any, *, negated: bool) -> str:
    if kind is op.LITERAL:
        return f"\\x{{{value:x}}}" + (_FOLDED_I if value in _I and not negated else "")
    if kind is op.RANGE:
        folded = not negated and any(value[0] <= each <= value[1] for each in _I)
        return f"\\x{{{value[0]:x}}}-\\x{{{value[1]:x}}}" + (_FOLDED_I if folded else "")
    if negated:
        # What a negated set leaves out must be no more than in Python: RE2's own classes are of ASCII alone.
        return {op.CATEGORY_DIGIT: "0-9", op.CATEGORY_SPACE: r"\t-\r ", op.CATEGORY_WORD: "0-9A-Za-z_"}.get(value, "")
    return _CATEGORIES.get(value) or _OTHERS[value]
