"""The measures that texts state: a number with its unit, in the base unit of what it measures, and what it is said to be over or under."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

from instance.chute.modules.safety.stated_numbers import RATIO_FROM_MAX, WORD_NUMBERS, in_full, plain_number

FACTOR = "factor"
"""The kind of what is said to be so many times something."""
KEPT = 64
"""Texts whose measures are kept: each statement is asked for its own several times."""
NEAR = 0.03
"""Part by which a converted measure may be off: it is mostly rounded."""
NEAR_ROUND = 0.1
"""As much where it is said to be round."""

_UNITS: dict[str, tuple[tuple[float, str], ...]] = {
    "length": (
        (1e-3, "mm millimetre millimeter millimetres millimeters"), (1e-2, "cm centimetre centimeter centimetres centimeters"),
        (1.0, "m metre meter metres meters"), (1e3, "km kilometre kilometer kilometres kilometers"),
        (0.0254, "inch inches"), (0.3048, "ft foot feet"), (0.9144, "yard yards"), (1609.344, "mi mile miles meilen"),
    ),
    "mass": (
        (1e-6, "mg milligram milligrams"), (1e-3, "g gram grams gramm"), (1.0, "kg kilo kilos kilogram kilograms kilogramm"),
        (1e3, "t ton tons tonne tonnes tonnen"), (0.0283495, "oz ounce ounces"), (0.453592, "lb lbs pounds"),
    ),
    "volume": ((1e-3, "ml millilitre millilitres milliliters"), (1e-2, "cl"), (1.0, "l litre liter litres liters"), (3.78541, "gallon gallons")),
    "time": (
        (1e-3, "ms millisecond milliseconds"), (1.0, "s sec second seconds sekunde sekunden segundos secondes secondi"), (60.0, "min minute minutes minuten"),
        (3600.0, "h hr hour hours stunde stunden heures horas"), (86400.0, "day days tag tage tagen jours días"),
        (604800.0, "week weeks woche wochen semaines semanas"), (2629746.0, "month months monat monate monaten mois meses"),
        (31556952.0, "yr year years jahr jahre jahren ans años"), (315569520.0, "decade decades"),
    ),
    "data": ((1.0, "kb kilobytes"), (1e3, "mb megabyte megabytes"), (1e6, "gb gigabyte gigabytes"), (1e9, "tb terabyte terabytes")),
    "power": ((1e-3, "w watt watts"), (1.0, "kw kilowatt kilowatts"), (1e3, "mw megawatt megawatts"), (1e6, "gw gigawatt gigawatts")),
    "rate of time": (
        (1.0, "/second"), (1 / 60, "/minute"), (1 / 3600, "/hour"), (1 / 86400, "/day"), (1 / 604800, "/week"), (1 / 2629746.0, "/month"), (1 / 31556952.0, "/year"),
    ),
}  # fmt: skip
_OF_UNIT = {word: (kind, factor) for kind, units in _UNITS.items() for factor, words in units for word in words.split()}
_FACTOR = re.compile(
    r"\b(?:(twice|double[ds]?)|(thrice|tripled?s?)|(\d+|three|four|five|six|seven|eight|nine|ten) ?(?:times|x|-fold|fold) (?:as|more|faster|higher|larger|longer|the))\b"
)
_ROUND = re.compile(
    r"\b(?:more than|less than|just over|just under|about|around|nearly|almost|roughly|approximately|some|rund|etwa|knapp|gut|fast|environ|presque|casi|unos|unas|circa)\b",
    re.IGNORECASE,
)
_ONE_WORD = re.compile(r"\b(?:one|einen?|une?|uno?|una)\s", re.IGNORECASE)
_ONE = frozenset(("a", "an", "ein", "eine", "einer", "einen", "une", "un", "una", "one"))
_BEFORE_ONE = frozenset(
    "for in within after over under about around of than take takes took last lasts lasted is was half need needs needed before nearly almost least most für nach innerhalb dauert dauerte beträgt "
    "betrug pendant après dure durée dans en durante dura después entro dopo da".split()
)
"""Behind these words an article is the number of a measure ("in a week"), else it mostly is that of a rate ("twice a week")."""
_NUMBER = rf"\d[\d.,]{{0,30}}\d|\d|\b(?:{'|'.join([*WORD_NUMBERS, *_ONE])})\b"
_MEASURE = re.compile(
    rf"(?<![\w.])({_NUMBER})(?:\s|-)?({'|'.join(sorted((word for word in _OF_UNIT if word[0] != '/'), key=len, reverse=True))})\b"
)
_RATE = re.compile(
    rf"(?<![\w.])({_NUMBER})\s(?:\w+\s)?(?:per|an?|each|every)\s(second|minute|hour|day|week|month|year)\b"
)
_EVERY = re.compile(rf"\bevery\s({_NUMBER})\s(second|minute|hour|day|week|month|year)s\b")
"""The same from the other side: every three months is four times a year."""
_MORE = r"over|above|more than|older than|longer than|at least|exceed\w*|greater than|minimum of|from|after|no (?:less|fewer) than|über|mindestens|plus de|más de"
_LESS = r"under|below|less than|fewer than|younger than|shorter than|at most|up to|within|maximum of|before|no more than|not more than|until|unter|höchstens|bis zu|moins de|menos de"
_BOUND = re.compile(rf"\b(?:({_MORE})|({_LESS}))\s(?:the age of |age )?[$€£]?({_NUMBER})")
_BELOW_ZERO = re.compile(r"(?<![\w.)\d])[-−](?=\d)|\bminus\s(?=\d)|(?:below (?:zero|freezing))")
_DEGREES = re.compile(r"(\d+(?:[.,]\d+)?)\s?(?:°|degrees|grad\b)")
_SIGNED = re.compile(r"(?<![\w.)\d])[-−](\d+(?:[.,]\d+)?)(?![\w-])")


def is_unit(word: str) -> bool:
    """Whether a word, without case, is a unit."""
    return word in _OF_UNIT


class Measure(NamedTuple):
    """What is measured, how much in the base unit, and the number as it is written."""

    kind: str
    value: float
    number: str


@lru_cache(KEPT)
def measures(text: str) -> tuple[Measure, ...]:
    """The measures of a text: `90 days`, `a week`, `12 miles`, `100 requests per minute`."""
    return tuple(_measures(text))


def _measures(text: str) -> Iterator[Measure]:
    text = in_full(text).casefold()
    for match in _MEASURE.finditer(text):
        shown, unit = match.groups()
        if shown in _ONE and (unit == "second" or _word_before(text, match.start()) not in _BEFORE_ONE):
            continue
        if len(unit) > 1 or unit != "s" or match.group()[-2] == " ":  # "the 1990s"
            yield _measure(shown, unit)
    for match in _FACTOR.finditer(text):
        two, three, shown = match.groups()
        number = "2" if two else "3" if three else _number(shown)
        yield Measure(FACTOR, float(number), number)
    for match in _RATE.finditer(text):
        yield _measure(match.group(1), "/" + match.group(2))

    for match in _EVERY.finditer(text):
        shown, unit = match.groups()
        number = _number(shown)
        if float(number):
            yield Measure("rate of time", _OF_UNIT["/" + unit][1] / float(number), number)


def _word_before(text: str, place: int) -> str:
    return text[max(0, place - 20) : place].rstrip().rpartition(" ")[2]


def _measure(shown: str, unit: str) -> Measure:
    kind, factor = _OF_UNIT[unit]
    number = _number(shown)
    return Measure(kind, float(number) * factor, number)


def _number(shown: str) -> str:
    return "1" if shown in _ONE else str(WORD_NUMBERS[shown]) if shown in WORD_NUMBERS else plain_number(shown)


def bounds(text: str) -> set[tuple[str, bool]]:
    """The numbers of a text that something is said to be over (`True`) or under (`False`)."""
    found = set()
    for more, _, shown in _BOUND.findall(in_full(text).casefold()):
        found.add((_number(shown), bool(more)))
    return found


def below_zero(text: str) -> set[str]:
    """The numbers of a text that are negative ones."""
    return {plain_number(shown) for shown in _SIGNED.findall(text)}


class Measures:
    """A reference's measures; `carries` says which of a statement's it has, in whatever unit."""

    def __init__(self, text: str) -> None:
        self._all = list(measures(text))
        self._bounds = bounds(text)
        self._below_zero = below_zero(text)
        self._positive = {plain_number(shown) for shown in re.findall(r"(?<![-−.\w])\d+(?:[.,]\d+)?", text)}

    def converted(self, statement: str) -> set[str]:
        """The numbers of a statement that stand here in another unit."""
        near = NEAR_ROUND if _ROUND.search(statement) else NEAR
        return {
            said.number
            for said in measures(statement)
            if any(said.kind == each.kind and abs(said.value - each.value) <= near * each.value for each in self._all)
            or (said.kind == FACTOR and self._is_ratio(said.value))
        }

    def _is_ratio(self, factor: float) -> bool:
        """Whether one measure is so many times another one."""
        return any(
            one.kind == other.kind and abs(one.value - factor * other.value) <= NEAR * one.value
            for one, other in permutations(self._all[:RATIO_FROM_MAX], 2)
        )

    def contradicts(self, statement: str) -> bool:
        """Whether a statement takes a number in another unit, on the other side of a bound, or with another sign than here."""
        for said in measures(statement):
            alike = [each for each in self._all if each.kind == said.kind]
            named = said.kind == FACTOR or any(each.number == said.number for each in alike)
            named = named or (said.number == "1" and _ONE_WORD.search(statement) is not None)
            if alike and named and all(abs(each.value - said.value) > NEAR * each.value for each in alike):
                return True
        for number, more in bounds(statement):
            if (number, not more) in self._bounds and (number, more) not in self._bounds:
                return True
        if self._below_zero and not _BELOW_ZERO.search(statement.casefold()):
            return any(
                plain_number(shown) in self._below_zero - self._positive for shown in _DEGREES.findall(statement)
            )
        return False
