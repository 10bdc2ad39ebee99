"""How a name is written: the run of words with capitals, and what a word of it may be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from instance.chute.modules.safety.name_words import family_names, given_names

_UP = "[A-ZÀ-ÖØ-Þ\u0100-\u017dƠƯ\u1e00-\u1eff]"
_LOW = "[a-zß-öø-ÿ\u0100-\u017fơư\u1e00-\u1eff]"
_PART = (
    rf"(?:(?:O['’]|Mc|Mac|D['’]|L['’])?{_UP}{_LOW}+(?:['’\-](?!s\b)(?:{_UP}|{_LOW}{{2}}){_LOW}*)*|{_UP}{{2,}})(?![\w])"
)
_JOINT = r"van der|van den|van de|van|von der|von|de la|de los|del|della|de|da|dos|das|di|du|le|la|el|al|bin|bint|ibn|ben|ter|ten|zu|af"
JOINTS = frozenset(word for joint in _JOINT.split("|") for word in joint.split())
LARGE_JOINTS = frozenset(word.capitalize() for word in JOINTS) - {"Ben", "Ter", "Ten", "Zu"}
"""As some write them: Nadia El Amrani."""
_INITIAL = r"[A-Z]\.(?:-?[A-Z]\.)*"
_TITLE = r"(?:Mr|Mrs|Ms|Mx|Dr|Prof|Sr|Sra|Mme|Mlle|Rev|Capt|Col|Lt|Sgt|Dra|Dott|Dhr)\."
INITIAL = re.compile(_INITIAL)
CAPITAL = re.compile(rf"{_UP}(?<![\w@/#$\\].)(?<!\w['’.].)")
"""Where a run may begin; found first, as a set of characters is what Python's expressions find fastest."""
RUN = re.compile(
    rf"(?:{_TITLE}|{_INITIAL}(?=[ \u00a0]?{_UP})|{_PART})(?:[ \u00a0]?(?<=[ \u00a0.])(?:{_TITLE}|{_INITIAL}|(?:{_JOINT})(?= {_UP})|{_PART})){{0,6}}"
)
SURNAMES_TOO = frozenset(
    "Green Brown Black White Gray Grey Gold Silver Hill Park King Price Power Fields Hall Young Long Short Small Rich Law Forest Temple House Day Cook Page English French Ford West North Lane Best Case Castle Rice Fish "
    "Church Street Field Head Book Winter Summer May March Will Grant Bush Rivers Banks Knight Wise Love Hope Joy Chase Major Royal Baker Cross Little Nash Bond Stone Wood".split()
)
"""Surnames that are other words as well; one is a surname behind a given name."""
FAMILY_ENDS = tuple(
    "ov ova ev eva enko chuk czyk wicz ski ska sky cki cka ić vić vich escu opoulos akis idis oğlu oglu yan dze shvili sson sen sdóttir dottir quist qvist mann stein feld bauer meyer meier "
    "moto mura yama zaki shita hara ñez éz ínez guez ndez elli etti ucci acci ini ão eira wala pati murthy swamy nathan asinghe sekera ová berg ström gren lund zadeh pour ullah uddin".split()
)
FAMILY_BEGINS = ("O'", "O’", "Mc", "Al-", "El-", "Fitz", "Ogun", "Ola", "Okon", "Chukwu")
_FAMILY_MIN_CHARS = 6
"""Shorter words end so by chance."""


class Word(NamedTuple):
    """A word of a run, and where it stands in the text."""

    text: str
    start: int
    end: int


_WORD = re.compile(r"[^ \u00a0.]+\.?")


def runs(text: str) -> Iterator[re.Match[str]]:
    """The runs of words with capitals, of which none overlaps."""
    end = 0
    for capital in CAPITAL.finditer(text):
        start = capital.start()
        if start >= end:
            match = RUN.match(text, start)
            if match is not None:
                end = match.end()
                yield match


def words_of(match: re.Match[str]) -> list[Word]:
    """The words of a run."""
    text, at = match.group(), match.start()
    return [Word(word.group(), at + word.start(), at + word.end()) for word in _WORD.finditer(text)]


def is_known_given(word: str) -> bool:
    """Whether it is a given name of the list; of a double one, its first half."""
    names = given_names()
    return word in names or ("-" in word and word.partition("-")[0] in names)


@lru_cache(maxsize=4096)
def is_surname(word: str) -> bool:
    """Whether it is a surname of the list, or made as surnames are."""
    names = family_names()
    if word in names:
        return True
    first, _, second = word.partition("-")
    if second and (first in names or second in names):
        return True
    return len(word) >= _FAMILY_MIN_CHARS and (word.endswith(FAMILY_ENDS) or word.startswith(FAMILY_BEGINS))
