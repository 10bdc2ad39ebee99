"""Records and table rows as fields, and what a statement says of those that are only true or false ("SSO: no")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from instance.chute.modules.safety.clause import Clause, stem, words_of

_TRUE = frozenset("yes true ja oui sí si sim on enabled included ✓ ✔ ✅ x".split())
_FALSE = frozenset("no false nein non não nee off disabled none null ✗ ✘ ❌ n/a".split())
_ALL = frozenset("all every each both any alle jeder jede tous toutes todos todas tutti".split())
_ONLY = frozenset("only solely exclusively just nur seulement uniquement solo sólo soltanto".split())
_CONTRAST = frozenset("but except unlike whereas while instead aber außer sauf pero salvo".split())


class Fields(NamedTuple):
    """One record: the words of those fields that are true or false, and the sets of words that name it."""

    flags: tuple[tuple[frozenset[str], bool], ...]
    names: tuple[frozenset[str], ...]


class RecordFields:
    """The records among a reference's sentences."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self._records = [fields for each in sentences if " | " in each and (fields := _fields_of(each)).flags]

    def agrees(self, said: Clause) -> bool | None:
        """Whether a statement says of a field what the records do; `None` where it is about no field that is true or false."""
        named = [each for each in self._records if any(name <= said.words for name in each.names)]
        if not _ALL.isdisjoint(said.tokens):
            about = named if len(named) > 1 else self._records
        else:
            about = named or (self._records if len(self._records) == 1 else [])
        if not about or not _CONTRAST.isdisjoint(said.tokens):
            return None
        wanted = not said.negates
        found = None
        for words, _ in about[0].flags:
            if words <= said.words:
                found = all(_value(each, words) in (wanted, None) for each in about)
                if found and not _ONLY.isdisjoint(said.tokens):
                    found = not any(_value(each, words) == wanted for each in self._records if each not in about)
                if not found:
                    return False
        return found


def _value(fields: Fields, words: frozenset[str]) -> bool | None:
    return next((value for each, value in fields.flags if each == words), None)


def _fields_of(sentence: str) -> Fields:
    flags, names = [], []
    for field in sentence.split(" | "):
        name, colon, value = field.rpartition(": ")
        plain = value.strip().casefold()
        if colon and (plain in _TRUE or plain in _FALSE):
            words = _stems(name.rpartition(": ")[2])
            if words:
                flags.append((words, plain in _TRUE))
        elif words := _stems(value):
            names.append(words)
    return Fields(tuple(flags), tuple(names))


def _stems(text: str) -> frozenset[str]:
    return frozenset(stem(word.casefold()) for word in words_of(text) if not word[0].isdecimal()) & Clause(text).words
