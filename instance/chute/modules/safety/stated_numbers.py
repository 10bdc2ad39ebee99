"""The numbers that texts state: in digits and words, what they count, and what follows from others by a small sum."""

from __future__ import annotations

import re
from itertools import permutations

DERIVED_FROM_MAX = 24
"""Numbers of a reference that are added and subtracted; a reference with more derives nothing."""

_NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:[.,\u00a0 ]\d{3})*(?:[.,]\d+)?(?!\w)")
_SMALL = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
} | {"twice": 2, "thrice": 3, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "ninety": 90, "hundred": 100}
_SHARES = {
    "half": 50.0,
    "third": 100 / 3,
    "quarter": 25.0,
    "fifth": 20.0,
    "tenth": 10.0,
    "thirds": 200 / 3,
    "quarters": 75.0,
}
_COUNTS = re.compile(
    rf"(?<![\w.])(\d[\d.,]*\d|\d|{'|'.join(_SMALL)})(?:\s+|-|(?=[a-z%]))(?:of\s+)?([a-z]+)(?:\s+(?:of\s+)?([a-z]+))?"
)
_DERIVES = re.compile(
    r"\b(?:total|sum|together|altogether|combined|in all|difference|lost|gained|more|fewer|less|average|roughly|about|around|approximately|nearly|almost|by|later|after|before|earlier|grew|fell|rose|shipped)\b",
    re.IGNORECASE,
)
_SHARE_SIGN = re.compile(r"(\d+(?:[.,]\d+)?)\s?(?:%|percent|per cent|prozent)", re.IGNORECASE)
NUMBERS_AND_SHARES = re.compile(rf"\d|\b(?:{'|'.join([*_SMALL, *_SHARES])})\b", re.IGNORECASE)
"""What stands in every text that states a number or a share."""
_NO_NOUN = frozenset(
    "percent per cent prozent and or to of in on at the a an was is are were with for from by per than until".split()
)


def numbers(text: str) -> set[str]:
    """The numbers of a text in plain form; small ones in words too."""
    found = {plain_number(match.group()) for match in _NUMBER.finditer(text)}
    found.update(
        str(_SMALL[word]) for word in re.findall(r"[a-z]+", text.casefold()) if word in _SMALL and _SMALL[word] > 1
    )
    return found - {""}


def counted(text: str) -> dict[str, set[str]]:
    """What is counted or measured -> its numbers: `{"days": {"30"}, "bag": {"2"}}`; nouns without a plural's s."""
    found: dict[str, set[str]] = {}
    for match in _COUNTS.finditer(text.casefold()):
        shown = match.group(1)
        number = plain_number(shown) if shown[0].isdigit() else str(_SMALL[shown]) if shown in _SMALL else ""
        if number:
            for noun in match.groups()[1:]:
                if noun and noun not in _NO_NOUN and noun not in _SMALL:
                    found.setdefault(noun.rstrip("s") if len(noun) > 3 else noun, set()).add(number)
    return found


def shares(text: str) -> set[float]:
    """Shares of a whole in per cent: `a third`, `7.1%`."""
    found = {float(match.group(1).replace(",", ".")) for match in _SHARE_SIGN.finditer(text)}
    return found | {_SHARES[word] for word in re.findall(r"[a-z]+", text.casefold()) if word in _SHARES}


def follows(number: str, statement: str, known: set[str], of_reference: str) -> bool:
    """Whether a number that does not stand in the reference follows from it: a sum or difference of what does, or a share in
    other words; only in a statement that says so ("in total", "two days later")."""
    if any(abs(float(number) - share) < 1 for share in shares(of_reference)) and shares(statement):
        return True
    if len(known) > DERIVED_FROM_MAX or not _DERIVES.search(statement):
        return False
    value, values = float(number), [float(each) for each in known]
    return any(
        abs(value - result) < 0.005
        for one, other in permutations(values, 2)
        for result in (one + other, one - other, one + 2 * other)
    )


def plain_number(shown: str) -> str:
    """A number without grouping, a point before its decimals and no zeros behind them; the last group of three is thousands."""
    text = shown.replace("−", "-").replace("\u00a0", "").replace(" ", "")
    last = max(text.rfind("."), text.rfind(","))
    if last >= 0:
        rest = text[last + 1 :]
        both = "." in text and "," in text
        grouped = len(rest) == 3 and not both and text[:last].lstrip("-") not in ("0", "")
        head = re.sub(r"[.,]", "", text[:last])
        text = head + rest if grouped else f"{head}.{rest}".rstrip("0").rstrip(".")
    return text.lstrip("-").lstrip("0") or "0"
