"""The numbers that texts state: in digits and words, what they count, and what follows from others by a small sum."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import permutations

import re2

DERIVED_FROM_MAX = 24
"""Numbers of a reference that are added and subtracted; a reference with more derives nothing."""

NUMBER = re.compile(r"\d(?<![\w.]\d)\d*(?:[.,\u00a0 ]\d{3})*(?:[.,]\d+)?(?!\w)")
"""A number in digits, without a sign. It begins with the digit, so that the search tries no other place."""
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
_DIGIT = re.compile(r"\d(?<![\w.]\d)")
_COUNTS = re.compile(
    rf"(?<![\w.])(?:(\d[\d.,]*\d|\d)(?:\s+|-|(?=[a-z%]))|({'|'.join(_SMALL)})(?:\s+|-))(?:of\s+)?([a-z]+)(?:\s+(?:of\s+)?([a-z]+))?"
)
_DERIVES = re.compile(
    r"\b(?:total|sum|together|altogether|combined|in all|difference|lost|gained|more|fewer|less|average|roughly|about|around|approximately|nearly|almost|by|later|after|before|earlier|grew|fell|rose|shipped)\b",
    re.IGNORECASE,
)
_SHARE_SIGN = re.compile(r"(\d\d*(?:[.,]\d+)?)\s?(?:%|percent|per cent|prozent)", re.IGNORECASE)
NUMBERS_AND_SHARES = (re.compile(r"\d"), re.compile(rf"\b(?:{'|'.join([*_SMALL, *_SHARES])})\b", re.IGNORECASE))
"""Of which one stands in every text that states a number or a share."""
_NO_NOUN = frozenset(
    "percent per cent prozent and or to of in on at the a an was is are were with for from by per than until".split()
)


_WORDS = (*_SMALL, *_SHARES)
_WORD_SET = re2.Set.SearchSet()
for _word in _WORDS:
    _WORD_SET.Add(f"(?:^|[^a-z]){_word}(?:$|[^a-z])")
_WORD_SET.Compile()


def number_words(text: str) -> frozenset[str]:
    """The words for numbers and shares in a text without case, in one pass over it."""
    return frozenset([_WORDS[hit] for hit in _WORD_SET.Match(text.encode("utf-8", "replace")) or ()])


def numbers(text: str) -> set[str]:
    """The numbers of a text in plain form; small ones in words too."""
    found = set(map(plain_number, NUMBER.findall(text)))
    found.update([str(_SMALL[word]) for word in number_words(text.casefold()) if _SMALL.get(word, 0) > 1])
    return found


def counted(text: str) -> dict[str, set[str]]:
    """What is counted or measured -> its numbers: `{"days": {"30"}, "bag": {"2"}}`; nouns without a plural's s."""
    found: dict[str, set[str]] = {}
    text = text.casefold()
    end = 0
    for place in sorted(_number_places(text)):
        match = _COUNTS.match(text, place) if place >= end else None
        if match is None:
            continue
        end = match.end()
        digits, word, *nouns = match.groups()
        number = plain_number(digits) if digits else str(_SMALL[word])
        for noun in nouns:
            if noun and noun not in _NO_NOUN and noun not in _SMALL:
                found.setdefault(noun.rstrip("s") if len(noun) > 3 else noun, set()).add(number)
    return found


def _number_places(text: str) -> Iterator[int]:
    """Where numbers may begin in a text without case: each first digit, and each word for one."""
    for match in _DIGIT.finditer(text):
        yield match.start()
    for word in number_words(text):
        if word in _SMALL:
            place = text.find(word)
            while place >= 0:
                yield place
                place = text.find(word, place + 1)


def shares(text: str) -> set[float]:
    """Shares of a whole in per cent: `a third`, `7.1%`."""
    folded = text.casefold()
    found = {_SHARES[word] for word in number_words(folded) if word in _SHARES}
    if "%" in folded or "cent" in folded or "zent" in folded:
        found.update([float(shown.replace(",", ".")) for shown in _SHARE_SIGN.findall(text)])
    return found


def follows(number: str, statement: str, own_shares: set[float], known: set[str], known_shares: set[float]) -> bool:
    """Whether a number that does not stand in the reference follows from the numbers and shares that do: a sum or difference, or
    a share in other words; only in a statement that says so ("in total", "two days later")."""
    value = float(number)
    if own_shares and any(abs(value - share) < 1 for share in known_shares):
        return True
    if len(known) > DERIVED_FROM_MAX or not _DERIVES.search(statement):
        return False
    return any(
        abs(value - result) < 0.005
        for one, other in permutations([float(each) for each in known], 2)
        for result in (one + other, one - other, one + 2 * other)
    )


def plain_number(shown: str) -> str:
    """A number without grouping, a point before its decimals and no zeros behind them; the last group of three is thousands."""
    if shown.isdecimal():
        return shown.lstrip("0") or "0"
    text = shown.replace("−", "-").replace("\u00a0", "").replace(" ", "")
    last = max(text.rfind("."), text.rfind(","))
    if last >= 0:
        rest = text[last + 1 :]
        both = "." in text and "," in text
        grouped = len(rest) == 3 and not both and text[:last].lstrip("-") not in ("0", "")
        head = re.sub(r"[.,]", "", text[:last])
        text = head + rest if grouped else f"{head}.{rest}".rstrip("0").rstrip(".")
    return text.lstrip("-").lstrip("0") or "0"
