"""Text as a reader takes it: without what is put into it so that words are not recognised."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from string import ascii_lowercase
from typing import Any

import re2

INVISIBLE = r"[\x{ad}\x{34f}\x{61c}\x{180e}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2064}\x{206a}-\x{206f}\x{fe00}-\x{fe0f}\x{feff}\x{e0000}-\x{e007f}]"
"""RE2 class of characters that show nothing."""
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u206a-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e007f]"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_ALIKE = str.maketrans(
    "аеорсухіјѕԁһкмтвнгпАЕОРСУХІЈЅМТВНКЗΑΒΕΖΗΙΚΜΝΟΡΤΥΧαοινρτυχκεıɡɑℓ’‘“”ʼ‐‑‒–—",
    "aeopcyxijsdhkmtbhrnAEOPCYXIJSMTBHK3ABEZHIKMNOPTYXaoivptuxkeigal''\"\"'-----",
)
_BLANKS = re.compile(r"([ \t]+)")
_SPACED = re.compile(r"(?<!\w)\w(?:[ .\-_*|/]{1,3}\w){3,}(?!\w)")
_MAY_BE_SPACED = re2.compile(r"(?:\b\w[ .*_|/-]{1,3}){3}")
_GAP = re.compile(r"(?<=\w)[ .\-_*|/]{1,3}(?=\w)")
_LEET = str.maketrans("013457@$!|€8", "oieastasiieb")
_LEET_WORD = re.compile(r"(?<![\w@$!|€])[^\W013457_8]*+[_013457@$!|€8][\w@$!|€]*")
"""A word that has such a sign; `_` only so that a word is read once: one that has nothing else stays."""
_MASKED = re.compile(r"(?<=[^\W\d_])[*.\-_'~](?=[^\W\d_])")
_REPEATED = re.compile(r"([^\W\d_])\1{2,}")
_RUNS = tuple(letter * 3 for letter in ascii_lowercase)

_ORDINARY_MASK = re.compile(r"[A-Za-z][*.\-_'~][A-Za-z]")


def _unusual() -> Any:
    """What an ASCII text has of which a reader sees something else."""
    found = re2.Set.SearchSet()
    for expression in (
        r"(?i)[a-z](?:[\d_]|!+\w)|[\d_!][a-z]|[@$|]",
        "(?i)" + "|".join(_RUNS),
        r"(?:\b\w[ .*_|/-]{1,3}){3}",
    ):
        found.Add(expression)
    found.Compile()
    return found


_UNUSUAL = _unusual()


def is_ordinary(text: str) -> bool:
    """Whether `plain` leaves a text and each piece of it as it is, and `unleeted` all but capitals and marks at the end of words."""
    return text.isascii() and not _UNUSUAL.Match(text.encode())


def plain(text: str) -> str:
    """NFKC without invisible characters and accents, letters of other scripts that look Latin made so, spaced letters joined."""
    if text.isascii():
        return _joined(text)
    return _joined("".join([line if line.isascii() else _plain_line(line) for line in text.splitlines(keepends=True)]))


def _plain_line(line: str) -> str:
    return "".join([piece if piece.isascii() else _plain_piece(piece) for piece in _BLANKS.split(line)])


def _plain_piece(text: str) -> str:
    text = _TAGS.sub(lambda run: " " + "".join(chr(ord(each) - 0xE0000) for each in run.group()) + " ", text)
    text = _INVISIBLE.sub("", text)
    text = unicodedata.normalize("NFKD", text)
    text = "".join(character for character in text if not unicodedata.combining(character))
    words = re.split(r"(\s+)", text)
    # A word in one script is a word of its language; letters are exchanged only where scripts are mixed, or stand for Latin alone.
    return "".join([_latin(word) for word in words])


def _latin(word: str) -> str:
    """The word in Latin letters where these are all that it looks to have."""
    if word.isascii():
        return word
    latin = word.translate(_ALIKE)
    if latin.isascii():
        return latin
    looks = any(map(str.isascii, latin)) and not any(each.isalpha() and not each.isascii() for each in latin)
    return latin if looks else word


def _joined(text: str) -> str:
    return _SPACED.sub(_words_of, text) if _MAY_BE_SPACED.search(text) else text


def _words_of(run: re.Match[str]) -> str:
    """The words of a run of single letters: the commonest gap stands between letters, any other between words."""
    shown = run.group()
    ((commonest, _),) = Counter(_GAP.findall(shown)).most_common(1)
    return _GAP.sub(lambda gap: "" if gap.group() == commonest else " ", shown)


def unleeted(text: str) -> str:
    """The text in lower case with digits and signs inside of words read as the letters that they stand for."""

    def word(match: Any) -> str:
        shown: str = match.group()
        if shown.isdigit():
            return shown
        letters = sum(map(str.isalpha, shown))
        if not letters:
            return shown
        return shown.translate(_LEET) if letters * 3 >= len(shown.rstrip("!")) else shown

    lowered = _LEET_WORD.sub(word, text.lower())
    if lowered.isascii() and not any(map(lowered.__contains__, _RUNS)):
        return lowered
    return _REPEATED.sub(r"\1\1", lowered)


def unmasked(text: str) -> str:
    """The text without the marks inside of words ("f*ck" keeps its gap: the mark stands for any letter)."""
    return _MASKED.sub("", text)


def forms_of(text: str) -> set[str]:
    """The forms of a text in which a reader may find other words than it has in lower case: none of most ordinary ones."""
    lowered = text.lower()
    if is_ordinary(text) and "!" not in text:
        if _ORDINARY_MASK.search(text) is None:
            return set()
        base = lowered
    else:
        base = plain(text).lower()
    return {base, unleeted(base), unleeted(unmasked(base))} - {lowered}
