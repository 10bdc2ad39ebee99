"""Records and table rows as fields, and what a statement says of those that are only true or false ("SSO: no")."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from instance.chute.modules.safety.clause import RECORD, Clause
from instance.chute.modules.safety.measures import is_unit
from instance.chute.modules.safety.stated_numbers import dated, in_full, numbers
from instance.chute.modules.safety.word_stems import stem, words_of

NAME_WORDS = 4
"""A longer value is a text, and names nothing."""
TELLING_CHARS = 2
"""A number with fewer digits may count anything."""
_TOGETHER = frozenset("both and or neither nor either than while und oder sowie et ou y o e".split())
_TRUE = frozenset("yes true ja oui sí si sim on enabled included ✓ ✔ ✅ x".split())
_FALSE = frozenset("no false nein non não nee off disabled none null ✗ ✘ ❌ n/a".split())
_ALL = frozenset("all every each both any alle jeder jede tous toutes todos todas tutti".split())
_ONLY = frozenset("only solely exclusively just nur seulement uniquement solo sólo soltanto".split())
_CONTRAST = frozenset("but except unlike whereas while instead aber außer sauf pero salvo".split())


class Fields(NamedTuple):
    """One record: the words of those fields that are true or false, the sets of words that name it, and of each field its words
    and the numbers in it."""

    flags: tuple[tuple[frozenset[str], bool], ...]
    names: tuple[frozenset[str], ...]
    values: tuple[tuple[frozenset[str], frozenset[str]], ...]
    keys: frozenset[str]
    """Numbers of what names it, and of codes."""
    kind: str


_MONTHS = {
    stem(word): number
    for number, words in enumerate(
        (
            "january januar janvier enero gennaio", "february februar février febrero febbraio", "march märz mars marzo", "april avril abril aprile", "may mai mayo maggio", "june juni juin junio giugno",
            "july juli juillet julio luglio", "august août agosto", "september septembre septiembre settembre", "october oktober octobre octubre ottobre", "november novembre noviembre", "december dezember décembre diciembre dicembre",
        ),
        1,
    )
    for word in words.split()
}  # fmt: skip
_NAMES = "january|january|januar|janvier|enero|gennaio|february|februar|février|febrero|febbraio|march|märz|mars|marzo|april|avril|abril|aprile|may|mai|mayo|maggio|june|juni|juin|junio|giugno|july|juli|juillet|julio|luglio|august|août|agosto|september|septembre|septiembre|settembre|october|oktober|octobre|octubre|ottobre|november|novembre|noviembre|december|dezember|décembre|diciembre|dicembre"
_DATE = re.compile(
    rf"(?:\d{{4}}-\d\d-\d\d \()?\b(?:0?(\d{{1,2}})\.?(?:st|nd|rd|th)? (?:of |de )?({_NAMES})|({_NAMES}) 0?(\d{{1,2}}))\b(?:,? (?:de )?\d{{4}})?"
)
_DAYS = {day[:3]: day for day in "monday tuesday wednesday thursday friday saturday sunday".split()}
_CLOCK = re.compile(r"\b0?(\d{1,2}):(\d\d)\b")


class RecordFields:
    """The records among a reference's sentences."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self._records = [_fields_of(each) for each in sentences if RECORD in each]

    def agrees(self, said: Clause) -> bool | None:
        """Whether a statement says of a field what the records do; `None` where it is about no field that is true or false."""
        flagged = [each for each in self._records if any(words <= said.words for words, _ in each.flags)]
        named = [each for each in self._records if any(name <= said.words for name in each.names)]
        if not _ALL.isdisjoint(said.tokens):
            about = named if len(named) > 1 else flagged
        else:
            about = named or (flagged if len(flagged) == 1 else [])
        if not about or not _CONTRAST.isdisjoint(said.tokens):
            return None
        wanted = not said.negates
        found = None
        for words, _ in dict.fromkeys(flag for each in about for flag in each.flags):
            if words <= said.words:
                found = all(_value(each, words) in (wanted, None) for each in about)
                if found and not _ONLY.isdisjoint(said.tokens):
                    found = not any(_value(each, words) == wanted for each in self._records if each not in about)
                if not found:
                    return False
        return found

    def mixes(self, said: Clause) -> str:
        """`number` or `name` where a statement gives a record what stands in another one, or in another field of it."""
        if not self._records:
            return ""
        told = _told(said.text)
        names = {name for each in self._records for name in each.names if name <= said.words | told}
        if len({each.kind for each in self._records if not names.isdisjoint(each.names)}) > 1:
            return ""
        about = [each for each in self._records if not names.isdisjoint(each.names)]
        if len(names) > 1 and not any(names <= set(each.names) for each in about):
            single = all(sum(name in each.names for each in self._records) for name in names)
            return (
                "name"
                if single and _TOGETHER.isdisjoint(said.tokens) and len(names) == 2 and self._is_key(names)
                else ""
            )
        if len(about) == 1 and self._is_of_others(about[0], told):
            return "number"
        having = [each for each in self._records if any(words and words <= said.words for words, _ in each.values)]
        for fields in about if len(about) == 1 else having if len(having) == 1 and not about else ():
            for words, given in fields.values:
                if words and words <= said.words and told.isdisjoint(given):
                    stated = told - fields.keys
                    others = [each for record in self._records for each in record.values if stated & each[1]]
                    if others and not any(each != words and each <= said.words for each, _ in others):
                        return "number"
        return ""

    @property
    def counts(self) -> set[str]:
        """How many records there are, and how many have the same value."""
        alike = Counter(name for each in self._records for name in each.names)
        return {str(len(self._records)), *map(str, alike.values())}

    def _is_of_others(self, fields: Fields, told: frozenset[str]) -> bool:
        """Whether all that is told in telling numbers stands in other records, and none of it in this one."""
        others = frozenset().union(*(given for each in self._records if each is not fields for _, given in each.values))
        own = fields.keys.union(*(given for _, given in fields.values))
        known = frozenset(each for each in told & (own | others) if len(each) >= TELLING_CHARS)
        return bool(known) and known.isdisjoint(own)

    def _is_key(self, names: set[frozenset[str]]) -> bool:
        """Whether one of the names is that of a single record."""
        return any(sum(name in each.names for each in self._records) == 1 for name in names)


def _told(text: str) -> frozenset[str]:
    """The numbers and times of a text: `07:40` as `7:40`; and what has letters and digits, `12b`."""
    found = set()
    for match in _DATE.finditer(dated(text).casefold()):
        day, month, other, another = match.groups()
        found.add(f"{_MONTHS[stem(month or other)]}-{day or another}")
    text = _DATE.sub(" ", dated(text).casefold())
    times = {f"{hour}:{minute}" for hour, minute in _CLOCK.findall(in_full(text))}
    codes = {word.casefold() for word in words_of(text) if any(map(str.isdecimal, word)) and not word.isdecimal()}
    return frozenset(found | times | codes | (numbers(_CLOCK.sub(" ", in_full(text)))))


def _value(fields: Fields, words: frozenset[str]) -> bool | None:
    return next((value for each, value in fields.flags if each == words), None)


def _fields_of(sentence: str) -> Fields:
    flags, names, values = [], [], []
    keys: set[str] = set()
    kind = " ".join(field.partition(":")[0] for field in sentence.split(RECORD))
    for field in sentence.split(" | "):
        name, colon, value = field.rpartition(": ")
        plain = value.strip().casefold()
        if colon and (plain in _TRUE or plain in _FALSE):
            words = _stems(name.rpartition(": ")[2])
            if words:
                flags.append((words, plain in _TRUE))
        else:
            told = _told(value)
            if told:
                values.append((_stems(name.rpartition(": ")[2]), told))
            if (words := _stems(_DAYS.get(plain, value))) and len(words) <= NAME_WORDS:
                names.append(words)
                if not any(word in _MONTHS for word in words):
                    keys |= told
            elif told and not words and not names and not flags:  # the first field: its key
                names.append(told)
                keys |= told
    return Fields(tuple(flags), tuple(names), tuple(values), frozenset(keys), kind)


def _stems(text: str) -> frozenset[str]:
    said = frozenset(stem(word.casefold()) for word in words_of(text) if not word[0].isdecimal()) & Clause(text).words
    return said - {stem(word) for word in map(str.casefold, words_of(text)) if is_unit(word)} or said
