"""The numbers that texts state: in digits and words, what they count, and what follows from others by a small sum."""

from __future__ import annotations

import re
from calendar import month_name
from collections.abc import Iterable, Iterator
from itertools import combinations, permutations

import re2

DERIVED_FROM_MAX = 24
"""Numbers of a reference that are added and subtracted; a reference with more derives nothing."""

TELLING_MIN = 100
"""Numbers from here on are hardly a sum or product of two others by chance."""
ROUNDED = 0.05
"""Part by which a number that is said to be round may be off."""
ROUNDED_MUCH = 0.1
"""The same for a number that has but one digit before its zeros ("2,000")."""
SHARED_MIN = 20
"""Smaller numbers are too often a half of something."""
ROUNDED_SHARE = 4.0
"""Per cent by which a share in words ("a third") may be off."""
SHARE_OF_MIN = 100
"""Smaller numbers have too many shares that fit."""
RATIO_FROM_MAX = 12
"""Numbers of a reference of which one is divided by another."""

NUMBER = re.compile(r"\d(?<![\w.]\d)\d*(?:[.,\u00a0 ]\d{3})*(?:[.,]\d+)?(?!\w)")
"""A number in digits, without a sign. It begins with the digit, so that the search tries no other place."""
_SMALL = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
} | {
    "twice": 2,
    "thrice": 3,
    "dozen": 12,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
    "hundred": 100,
}
for _first, _of_language in (
    (2, "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf"),
    (2, "deux trois quatre cinq six sept huit neuf dix onze douze"),
    (2, "dos tres cuatro cinco seis siete ocho nueve diez once doce"),
):
    _SMALL |= {word: number for number, word in enumerate(_of_language.split(), _first) if word not in ("once", "neuf")}
WORD_NUMBERS = _SMALL
"""Words for small numbers."""
_SHARES = {
    "half": 50.0,
    "third": 100 / 3,
    "quarter": 25.0,
    "fifth": 20.0,
    "tenth": 10.0,
    "thirds": 200 / 3,
    "quarters": 75.0,
    **dict.fromkeys(("hälfte", "moitié", "mitad"), 50.0),
    **dict.fromkeys(("drittel", "tercio"), 100 / 3),
    **dict.fromkeys(("viertel",), 25.0),
}
_DIGIT = re.compile(r"\d(?<![\w.]\d)")
_COUNTS = re.compile(
    rf"(?<![\w.])(?:(\d[\d.,]{{0,30}}\d|\d)(?:\s+|-|(?=[a-z%]))|({'|'.join(_SMALL)})(?:\s+|-))(?:of\s+)?([a-z]+)(?:\s+(?:of\s+)?([a-z]+))?"
)
_SCALED = re.compile(
    r"(\d(?:[\d.,]{0,30}\d)?)[ \u00a0-]?(?:(thousand|tausend|mille|mil)|(million(?:s|en)?|millones|mio\.?|mn|(?-i:M))|(billions?|bn|milliarden?|milliards?|mrd\.?)|(?<=\d)(k))(?![\w])",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"\b(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)-(?:one|two|three|four|five|six|seven|eight|nine)|dix-(?:sept|huit))\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.](\d\d))?\s?([ap])\.?m\b\.?|\b(\d{1,2}):00\b", re.IGNORECASE)
_EVENING = re.compile(
    rf"\b(\d{{1,2}}|{'|'.join(_SMALL)})\s(?:o['’]clock\s)?(?:in the (?:afternoon|evening)|at night)\b", re.IGNORECASE
)
_MAY_BE_SHORT = re.compile(r"\d[ \u00a0-]?(?:thou|taus|mil|mio|mn|mrd|bil|bn|[km]\b|[ap]\.?m|:00)", re.IGNORECASE)
_DATE = re.compile(r"\b(\d{4})-(0[1-9]|1[0-2])-([0-3]\d)(?!\d)")
_DERIVES = re.compile(
    r"\b(?:insgesamt|zusammen|mehr|weniger|früher|später|länger|kürzer|übrig|de plus|de moins|plus tôt|plus tard|restent|más tarde|quedan|still|left|remain\w*|times (?:as|more|the|higher|larger|bigger)|double|twice|triple|saves?|cheaper|climbed|dropped|total|sum|together|altogether|combined|in all|difference|lost|gained|more|fewer|less|average|roughly|about|around|approximately|nearly|almost|by|later|after|before|earlier|would be|grew|fell|rose|shipped)\b",
    re.IGNORECASE,
)
_ROUNDS = re.compile(
    r"\b(?:((?:a (?:bit|little) )?(?:more|higher|longer|larger) than|(?:just |slightly |a (?:bit|little) |well )?(?:over|above)|über|mehr als|plus de|más de|oltre|più di)"
    r"|((?:just |slightly |a (?:bit|little) )?(?:under|below|short of)|(?:a (?:bit|little) )?less than|nearly|almost|close to|knapp|fast|beinahe|unter|presque|moins de|casi|menos de|quasi|meno di)"
    r"|(roughly|about|around|approximately|some|circa|ca\.?|rund|etwa|ungefähr|environ|aproximadamente|unos|unas))\s+(?:[$€£]\s?)?\d",
    re.IGNORECASE,
)
_PIECES = frozenset(range(2, 13))
"""Counts of pieces that have a price each."""
_CENTS = re.compile(r"\d (?:cents?|pence|ct|centimes?)\b")
_YEARS = re.compile(r"\b(?:years?|jahren?|took|lasted|ans|años)\b", re.IGNORECASE)
_SHARE_SIGN = re.compile(r"(\d{1,30}(?:[.,]\d{1,30})?)\s?(?:%|percent|per cent|prozent)", re.IGNORECASE)
NUMBERS_AND_SHARES = (re.compile(r"\d"), re.compile(rf"\b(?:{'|'.join([*_SMALL, *_SHARES])})\b", re.IGNORECASE))
"""Of which one stands in every text that states a number or a share."""
_NO_NOUN = frozenset(
    "percent per cent prozent and or to of in on at the a an was is are were with for from by per than until".split()
)
_ENDS_COUNT = frozenset(
    "per and or to was is are were with for from by than until und oder ist sind war pro et ou est sont par y o es son por e è um".split()
)
"""Behind a number they say that what comes next is not what it counts: `2,400 per store`."""


_WORDS = (*_SMALL, *_SHARES)
_WORD_SET = re2.Set.SearchSet()
for _word in _WORDS:
    _WORD_SET.Add(f"(?:^|[^a-z]){_word}(?:$|[^a-z])")
_WORD_SET.Compile()


def number_words(text: str) -> frozenset[str]:
    """The words for numbers and shares in a text without case, in one pass over it."""
    return frozenset([_WORDS[hit] for hit in _WORD_SET.Match(text.encode("utf-8", "replace")) or ()])


def in_full(text: str) -> str:
    """The text with `4.2 million`, `60k` and `3:37 pm` as `4200000`, `60000` and `15:37`."""
    if "-" in text and _JOINED.search(text) is not None:
        text = _JOINED.sub(_of_words, text)
    if " in the " in text or " at night" in text:
        text = _EVENING.sub(_of_evening, text)
    if _MAY_BE_SHORT.search(text) is None:
        return text
    return _CLOCK.sub(_of_day, _SCALED.sub(_scaled, text))


def _of_words(match: re.Match[str]) -> str:
    return str(sum(_SMALL[word.casefold()] for word in match.group().split("-")))


def _of_evening(match: re.Match[str]) -> str:
    shown = match.group(1).casefold()
    hour = _SMALL[shown] if shown in _SMALL else int(shown)
    return str(hour + 12) if hour < 12 else match.group()


def _scaled(match: re.Match[str]) -> str:
    shown, thousand, million, billion, kilo = match.groups()
    times = 10**3 if thousand or kilo else 10**6 if million else 10**9 if billion else 1
    return f"{float(plain_number(shown)) * times:.10g}" if times > 1 else match.group()


def _of_day(match: re.Match[str]) -> str:
    hour, minutes, half, whole = match.groups()
    if whole:
        return str(whole)
    shown = str(int(hour) % 12 + (12 if half in "pP" else 0))
    return f"{shown}:{minutes}" if minutes and minutes != "00" else shown


def numbers(text: str) -> set[str]:
    """The numbers of a text in plain form; small ones in words too."""
    text = in_full(text)
    found = set(map(plain_number, NUMBER.findall(text)))
    found.update([str(_SMALL[word]) for word in number_words(text.casefold()) if _SMALL.get(word, 0) > 1])
    return found


def counted(text: str) -> dict[str, set[str]]:
    """What is counted or measured -> its numbers: `{"days": {"30"}, "bag": {"2"}}`; nouns without a plural's s."""
    found: dict[str, set[str]] = {}
    text = in_full(text).casefold()
    end = 0
    for place in sorted(_number_places(text)):
        match = _COUNTS.match(text, place) if place >= end else None
        if match is None:
            continue
        end = match.end()
        digits, word, *nouns = match.groups()
        if nouns[0] in _ENDS_COUNT:
            continue
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


def dated(text: str) -> str:
    """The text with dates like `2025-02-11` also in words, as others say them."""
    return _DATE.sub(_in_words, text) if "-" in text else text


def _in_words(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    return f"{match.group()} ({int(day)} {month_name[int(month)]} {year})"


def derives(statement: str) -> bool:
    """Whether a statement may give a number that is worked out ("in total", "two days later")."""
    return _DERIVES.search(statement) is not None


def follows(number: str, statement: str, own_shares: set[float], known: set[str], known_shares: set[float]) -> bool:
    """Whether a number that does not stand in the reference follows from the numbers and shares that do: a sum or difference, or
    a share in other words; only in a statement that says so ("in total", "two days later")."""
    value = float(number) / (100 if _CENTS.search(statement) else 1)
    given = [float(each) for each in known]
    if any(share_follows(share, known) for share in own_shares):
        return True
    if value >= SHARED_MIN and any(abs(value - each * share / 100) < 0.005 for share in known_shares for each in given):
        return True
    if own_shares and any(
        abs(value - share) < 1 for share in (*known_shares, *(100 * each for each in given if each < 1))
    ):
        return True
    if _YEARS.search(statement) and any(
        abs(value - (one - other)) < 0.005 for one, other in permutations(filter(_is_year, given), 2)
    ):
        return True
    if len(known) > DERIVED_FROM_MAX:
        return False
    if value >= TELLING_MIN and not _is_year(value) and _is_told(value, given):
        return True
    if not _DERIVES.search(statement):
        return is_nearly(value, statement, given)
    times = [1.0, *(each for each in given if each in _PIECES)]
    if any(
        abs(value - result) < 0.005
        for one, other in permutations(given, 2)
        for result in (one - other, *(one + count * other for count in times))
    ):
        return True
    if any(
        abs(value - sum(some)) < 0.005 or abs(value - (2 * max(some) - sum(some))) < 0.005
        for some in combinations(given, 3)
    ) or (given and abs(value - sum(given)) < 0.005):
        return True
    return any(abs(value - ratio) < 0.005 for ratio in _ratios(known)) or is_nearly(value, statement, given)


def _is_told(value: float, given: list[float]) -> bool:
    """Whether a large number is the sum, difference or product of two, or the half or double of one: none is so by chance."""
    return any(
        value in (one + other, one - other, one * other) or (other in _PIECES and value * other == one)
        for one, other in permutations(given, 2)
        if other > 1
    ) or any(value in (each / 2, each * 2) for each in given)


def is_nearly(value: float, statement: str, given: Iterable[float]) -> bool:
    """Whether it is a number of the reference made round, on the side of it that the statement says."""
    match = _ROUNDS.search(statement)
    if match is None or not value:
        return False
    over, under, _ = match.groups()
    most = ROUNDED_MUCH if value >= SHARE_OF_MIN and value == float(f"{value:.0e}") else ROUNDED
    least = 0.0 if over else -most
    most = 0.0 if under else most
    return any(least <= (each - value) / value <= most for each in given)


def _is_year(number: float) -> bool:
    return 1700 <= number < 2100 and number.is_integer()


def share_follows(share: float, known: set[str]) -> bool:
    """Whether a share, in per cent, is what one large number is of another, or by which it is more or less."""
    large = {number for number in known if float(number) >= SHARE_OF_MIN and not _is_year(float(number))}
    most = ROUNDED_SHARE if share in _SHARES.values() else 0.6
    return any(abs(share - 100 * each) < most for ratio in _ratios(large) for each in (ratio, abs(ratio - 1)))


def _ratios(known: set[str]) -> list[float]:
    if len(known) > RATIO_FROM_MAX:
        return []
    return [one / other for one, other in permutations(map(float, known), 2) if other]


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
