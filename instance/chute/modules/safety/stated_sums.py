"""Sums that a text states: expressions, sums and means in words, shares and changes in per cent; which of them are wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from decimal import Decimal, DivisionByZero, InvalidOperation

FLOAT_DECIMALS = 12
NUM = r"[-−]?[$€£]?\d[\d,]{0,30}(?:\.\d{1,30})?"
_UNIT = r"(?:\s?(?:km/h|km|kg|cm|mm|ml|mph|h|g|m|€|euros?|dollars?|hours?|days?|minutes?|people|pieces|tiles|items)\b)?"
_IS = r"(?:is|equals|=|makes|gives|comes to|would be|will be|was)"
_ABOUT = r"(?:\s?(?:about|around|roughly|approximately|nearly|almost|just (?:over|under)|over|under|≈|~))?"
_SUM = re.compile(
    rf"(?<![\w.,+*/×÷=^-])(?<![-+*/×÷−x] )({NUM}%?{_UNIT}(?:\s*(?:[+*/×÷−x-]|\*\*|\^|plus|minus|times|divided by)\s*{NUM}{_UNIT})+)\s*(=|≈|~|equals|is equal to|is)\s*({NUM})(?![\w%!]|[.,]?\d|\s*[+*/×÷]|\s(?:mod|in (?:binary|hex|octal|base)|\(?base|floating)\b)"
)
_WORDED = re.compile(
    rf"\b(?:(sum|product|difference) (?:of|between) ({NUM}) and ({NUM})|(half|double|twice|a third|a quarter) (?:of )?({NUM})) (?:is|equals|=|makes) ({NUM})(?![\w%]|[.,]?\d)",
    re.IGNORECASE,
)
_PARTS = {
    "half": Decimal("0.5"),
    "double": Decimal(2),
    "twice": Decimal(2),
    "a third": Decimal(1) / 3,
    "a quarter": Decimal("0.25"),
}
_OF_LIST = re.compile(
    rf"\b(sum|total|average|mean|product) of ({NUM}(?:,\s{NUM})+(?:,?\s(?:and|&)\s{NUM})?) {_IS}({_ABOUT})\s({NUM})(?![\w%]|[.,]?\d)",
    re.IGNORECASE,
)
_LISTED = re.compile(rf"{NUM}(?=\D|$)")
_UNIT_BEHIND = re.compile(_UNIT + r"(?=\s|$|[-+*/×÷−=])")
_SHARE = rf"({NUM})\s?(?:%|percent|per cent)"
_PERCENT = re.compile(rf"(?<![\w.]){_SHARE} of ({NUM}) {_IS} ({NUM})(?!\s?%|[\d,]*\d)")
_IS_PERCENT = re.compile(rf"(?<![\w.%])({NUM}) {_IS}({_ABOUT})\s?{_SHARE} of ({NUM})(?![\w%]|[.,]?\d)")
_WITH_PERCENT = re.compile(
    rf"(?<![\w.]){_SHARE}\s(?:\w+\s)?(tax|tip|vat|surcharge|interest|fee|markup|increase|raise|discount|off|reduction|rebate|decrease)\s?(?:to|on|off|of|from|for)?\s(?:the\s|a\s)?({NUM})(?!\d|[.,]\d|\s?%)"
    rf"[^\d.;\n]{{0,40}}?\b(?:to|is|get|gives?|makes?|total(?:s|ling)?|comes to|leaves|be|pay|=)\s(?:a total of |the total |about )?({NUM})(?![\w%]|[.,]?\d)",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    rf"\bfrom ({NUM}) to ({NUM})(?![\w%]|[.,]?\d)[^.;\n\d]{{0,30}}?\b(?:an? |the )?(increase|rise|growth|gain|jump|decrease|drop|decline|fall|reduction|loss) of({_ABOUT})\s?{_SHARE}",
    re.IGNORECASE,
)
_OF_ONE = re.compile(
    rf"(?<![\w.)])(?:(\d{{1,2}})!|(?:sqrt\(|√|[Ss]quare root of )(\d[\d,]{{0,30}})\)?)\s?(?:=|{_IS})\s?({NUM})(?![\w%!]|[.,]?\d|\s?[+*/×÷^-])"
)
_OTHER_ARITHMETIC = re.compile(
    r"\b(?:binary|hexadecimal|hex|octal|base[- ]\d+|modul[oa]r?|mod|boolean|GF\(2\)|string|concatenat\w+)\b",
    re.IGNORECASE,
)

SUMS = (_SUM, _WORDED, _OF_LIST, _PERCENT, _IS_PERCENT, _WITH_PERCENT, _CHANGE, _OF_ONE)
_SIGN = r"[-−]?[$€£]?\d"
SUM_BEGINS = (
    rf"[\d%]{_UNIT}\s*(?:=|≈|~|equals|is equal to|is)\s*{_SIGN}",
    rf"\b(?:sum|total|average|mean|product|difference) (?:of|between) {_SIGN}",
    rf"\b(?:half|double|twice|a third|a quarter) (?:of )?{_SIGN}",
    rf"(?:%|percent|per cent) of {_SIGN}",
    r"(?:%|percent|per cent)\s(?:\w+\s)?(?:tax|tip|vat|surcharge|interest|fee|markup|increase|raise|discount|off|reduction|rebate|decrease)\b",
    rf"\bfrom {_SIGN}[\d,.]* to {_SIGN}",
    r"\d!\s?=|sqrt\(|√|square root of",
)
"""What sums begin with, or hold."""


def wrong_sums(text: str) -> Iterator[tuple[int, int]]:
    """Where a text states a sum that is not right."""
    yield from _wrong_expressions(text)
    yield from _wrong_worded(text)
    yield from _wrong_shares(text)
    for match in _OF_ONE.finditer(text):
        of, root, said = match.groups()
        value = Decimal(math.factorial(int(of))) if of else _decimal(root).sqrt()
        if not _agrees(value, said, exact=True):
            yield match.span()


def _wrong_expressions(text: str) -> Iterator[tuple[int, int]]:
    for match in _SUM.finditer(text):
        expression, sign, said = match.groups()
        right = _value(_UNIT_BEHIND.sub("", expression))
        exact = sign in ("=", "equals", "is equal to")
        if right is not None and not _agrees(right, said, exact=exact) and not _other_arithmetic(text, match):
            yield match.span()


def _wrong_worded(text: str) -> Iterator[tuple[int, int]]:
    for match in _WORDED.finditer(text):
        kind, one, other, part, whole, said = match.groups()
        if kind:
            a, b = _decimal(one), _decimal(other)
            value = a + b if kind.lower() == "sum" else a * b if kind.lower() == "product" else abs(a - b)
        else:
            value = _PARTS[part.lower()] * _decimal(whole)
        if not _agrees(value, said, exact=True):
            yield match.span()
    for match in _OF_LIST.finditer(text):
        kind, listed, about, said = match.groups()
        values = [_decimal(each) for each in _LISTED.findall(listed)]
        value = math.prod(values, start=Decimal(1)) if kind.lower() == "product" else sum(values, Decimal(0))
        if kind.lower() in ("average", "mean"):
            value /= len(values)
        if not _agrees(value, said, exact=not about):
            yield match.span()


def _wrong_shares(text: str) -> Iterator[tuple[int, int]]:
    for match in _PERCENT.finditer(text):
        part, whole = _decimal(match.group(1)), _decimal(match.group(2))
        if not _agrees(part * whole / 100, match.group(3), exact=True):
            yield match.span()
    for match in _IS_PERCENT.finditer(text):
        shown, about, share, of = match.groups()
        if _decimal(of) and not _agrees(100 * _decimal(shown) / _decimal(of), share, exact=not about):
            yield match.span()
    for match in _WITH_PERCENT.finditer(text):
        share, kind, of, said = match.groups()
        part, whole = _decimal(share) * _decimal(of) / 100, _decimal(of)
        less = kind.lower() in ("discount", "off", "reduction", "rebate", "decrease")
        if not any(_agrees(right, said, exact=True) for right in (part, whole - part if less else whole + part)):
            yield match.span()
    for match in _CHANGE.finditer(text):
        one, other, _, about, share = match.groups()
        before, after = _decimal(one), _decimal(other)
        if before and not _agrees(abs(100 * (after - before) / before), share, exact=not about):
            yield match.span()


def _other_arithmetic(text: str, match: re.Match[str]) -> bool:
    """Whether the line says that it counts in another way."""
    begin, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
    return _OTHER_ARITHMETIC.search(text, begin, end if end >= 0 else len(text)) is not None


def _decimal(shown: str) -> Decimal:
    return Decimal(_number(shown))


def _number(shown: str) -> str:
    return re.sub(r"[$€£,%]", "", shown).replace("−", "-")


def _value(expression: str) -> Decimal | None:
    """What `a op b …` is, by the usual precedence; `None` when it is not that simple."""
    text = expression
    for word, sign in (
        ("divided by", "/"),
        ("plus", "+"),
        ("minus", "-"),
        ("times", "*"),
        ("**", "^"),
        ("×", "*"),
        ("x", "*"),
        ("÷", "/"),
        ("−", "-"),
    ):
        text = text.replace(word, sign)
    if "%" in text:
        return None
    tokens = re.findall(r"\d[\d,]*(?:\.\d+)?|[-+*/^]", text)
    values: list[Decimal] = []
    signs: list[str] = []
    negative = False
    for token in tokens:
        if token[0].isdigit():
            value = Decimal(token.replace(",", ""))
            values.append(-value if negative else value)
            negative = False
        elif len(signs) == len(values) and token == "-":
            negative = not negative
        elif len(signs) == len(values) - 1:
            signs.append(token)
        else:
            return None
    if len(signs) != len(values) - 1 or not signs:
        return None
    try:
        for level in ("^", "*/", "+-"):
            place = 0
            while place < len(signs):
                if signs[place] in level:
                    values[place : place + 2] = [_apply(values[place], signs.pop(place), values[place + 1])]
                else:
                    place += 1
    except (DivisionByZero, InvalidOperation, OverflowError):
        return None
    return values[0]


def _apply(one: Decimal, sign: str, other: Decimal) -> Decimal:
    if sign == "^":
        if abs(other) > 64 or abs(one) > 10**9:
            raise OverflowError
        return one**other
    return one + other if sign == "+" else one - other if sign == "-" else one * other if sign == "*" else one / other


def _agrees(right: Decimal, shown: str, *, exact: bool) -> bool:
    """Whether a shown result is right as far as it is shown; what is said to be about right may be off by a twentieth."""
    text = _number(shown)
    said = Decimal(text)
    decimals = len(text.partition(".")[2])
    if decimals > FLOAT_DECIMALS:  # as binary fractions are printed
        return abs(right - said) < Decimal(10) ** -FLOAT_DECIMALS
    if abs(right - said) <= Decimal(10) ** -decimals * (Decimal("0.5000001") if decimals or right % 1 else 0):
        return True
    return not exact and right != right.to_integral_value() and abs(right - said) <= abs(right) / 20
