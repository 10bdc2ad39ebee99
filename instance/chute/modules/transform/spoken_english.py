"""Numbers, money, units, dates and abbreviations written out in English, as they are spoken. Pure."""

from __future__ import annotations

import re

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**3, "thousand"))
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_MONEY = {"$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"), "¥": ("yen", "")}
_UNITS = {
    "km/h": "kilometres per hour", "km": "kilometres", "cm": "centimetres", "mm": "millimetres", "m": "metres", "kg": "kilograms",
    "mg": "milligrams", "g": "grams", "ml": "millilitres", "l": "litres", "°C": "degrees Celsius", "°F": "degrees Fahrenheit",
    "GB": "gigabytes", "MB": "megabytes", "KB": "kilobytes", "TB": "terabytes", "ms": "milliseconds", "min": "minutes",
    "h": "hours", "s": "seconds", "%": "percent", "mph": "miles per hour", "lb": "pounds", "oz": "ounces", "ft": "feet",
}  # fmt: skip
_SHORT = {
    "e.g.": "for example", "i.e.": "that is", "etc.": "and so on", "vs.": "versus", "approx.": "approximately",
    "Dr.": "Doctor", "Mr.": "Mister", "Mrs.": "Missus", "Prof.": "Professor", "No.": "number", "&": "and",
}  # fmt: skip
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_UNIT = re.compile(
    rf"(?<![\w.])(-?(?:{_NUMBER}))\s?({'|'.join(sorted(map(re.escape, _UNITS), key=len, reverse=True))})(?![\w])"
)
_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_CASH = re.compile(rf"([$€£¥])\s?({_NUMBER})")
_PLAIN = re.compile(rf"(?<![\w.])-?(?:{_NUMBER})(?![\w])")
_ABBREVIATION = re.compile("|".join(rf"(?<!\w){re.escape(short)}(?!\w)" for short in _SHORT))


def spoken(text: str) -> str:
    """The text as it is read out."""
    text = _ABBREVIATION.sub(lambda match: _SHORT[match.group()], text)
    text = _DATE.sub(_date, text)
    text = _CASH.sub(_cash, text)
    text = _UNIT.sub(lambda match: f"{_number(match[1])} {_unit(match[1], _UNITS[match[2]])}", text)
    return _PLAIN.sub(lambda match: _number(match.group()), text)


def words_of(value: int) -> str:
    """A whole number in words; from a quadrillion on digit by digit."""
    if value < 0:
        return f"minus {words_of(-value)}"
    if value < 20:
        return _ONES[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
    if value < 1000:
        hundreds, rest = divmod(value, 100)
        return f"{_ONES[hundreds]} hundred" + (f" {words_of(rest)}" if rest else "")
    if value >= 10**15:
        return " ".join(_ONES[int(digit)] for digit in str(value))
    for scale, name in _SCALES:
        if value >= scale:
            count, rest = divmod(value, scale)
            return f"{words_of(count)} {name}" + (f" {words_of(rest)}" if rest else "")
    raise AssertionError(value)


def _number(text: str) -> str:
    whole, point, part = text.replace(",", "").partition(".")
    said = words_of(int(whole)) if len(whole) < 20 else " ".join(_ONES[int(d)] for d in whole if d.isdigit())
    if text.startswith("-") and not said.startswith("minus"):
        said = f"minus {said}"
    return f"{said} point {' '.join(_ONES[int(digit)] for digit in part)}" if point else said


def _unit(number: str, unit: str) -> str:
    return unit[:-1] if number == "1" and unit.endswith("s") and unit not in ("degrees Celsius",) else unit


def _date(match: re.Match[str]) -> str:
    year, month, day = (int(part) for part in match.groups())
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match.group()
    return f"{_MONTHS[month - 1]} {words_of(day)}, {_year(year)}"


def _year(year: int) -> str:
    century, rest = divmod(year, 100)
    if 2000 <= year < 2010 or not rest:
        return words_of(year)
    return f"{words_of(century)} {'oh ' if rest < 10 else ''}{words_of(rest)}"


def _cash(match: re.Match[str]) -> str:
    name, small = _MONEY[match[1]]
    whole, _, part = match[2].replace(",", "").partition(".")
    count = int(whole)
    plural = "" if count == 1 or name == "yen" else "s"
    said = f"{words_of(count)} {name}{plural}"
    if part and small and len(part) <= 2 and int(part):
        cents = int(part.ljust(2, "0"))
        return f"{said} and {words_of(cents)} {'pence' if small == 'penny' and cents != 1 else small + ('' if cents == 1 else 's')}"
    return said
