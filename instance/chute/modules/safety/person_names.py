"""Names of people in text: given names of an offline list before a surname, titles, and words that introduce a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from instance.chute.modules.safety.found import Found

LIST = Path(__file__).with_name("given_names.txt")

_PART = r"(?:[A-ZÀ-ÖØ-ÞĀ-Ž][a-zà-öø-ÿā-ž]+(?:['’\-][A-ZÀ-ÖØ-Þ]?[a-zà-öø-ÿ]+)*|(?:O['’]|Mc|Mac|D['’])[A-Z][a-z]+)"
_JOINT = r"(?:van der|van den|van de|van|von der|von|de la|de los|del|de|da|dos|di|du|le|la|el|al|bin|ibn|ben|ter)"
_RUN = re.compile(rf"(?<![\w’'])({_PART})((?:[ \u00a0](?:[A-Z]\.|{_JOINT}|{_PART})){{1,4}})(?![\w])")
_TITLED = re.compile(
    rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Monsieur|Madame|Mme|Señora?|Sra?|Signora?|Sir|Dame)\.?[ \u00a0]((?:{_PART}|[A-Z]\.)(?:[ \u00a0](?:{_JOINT}[ ])?{_PART}){{0,2}})"
)
_INTRODUCED = re.compile(
    rf"\b(?:[Mm]y name is|[Nn]ame(?:d)?:?|[Cc]alled|[Ss]igned,?|[Ss]incerely,?|[Rr]egards,?|[Cc]heers,?|[Ii]ch hei(?:ß|ss)e|[Mm]e llamo|[Jj]e m['’]appelle|[Mm]i chiamo|[Pp]atient|[Ee]mployee|[Cc]ustomer|[Cc]lient|[Aa]pplicant)\s+({_PART}(?:[ \u00a0](?:[A-Z]\.|{_JOINT}|{_PART})){{0,3}})"
)
_NO_SURNAME = frozenset(
    "Street Road Avenue Lane Drive Park City County Island Bay River Lake Hill Valley Beach Square Bridge Airport Station University "
    "College School Hospital Museum Church Cathedral Tower Hotel Inc Ltd Corp Company Group Bank Studio Code Cloud Server Office Windows "
    "Day Week Month Year January February March April June July August September October November December Monday Tuesday Wednesday "
    "Thursday Friday Saturday Sunday The And But Or For With From Is Are Was Were Has Have Can Could Will Would Should May Might Must "
    "Please Thanks Hello Dear Award Prize Theorem Law Effect Test Disease Syndrome Foundation Institute Center Centre Stadium World "
    "Kingdom States Republic Ocean Sea North South East West Testament Bible Version Edition Series Show Framework Language Library "
    "Plaza Mall Cup League Model Method Algorithm Process Theory Number Distribution Team Club".split()
)
_NAMES_THING = frozenset("the The Santa San Saint St St. Lake Mount Mt Mt. Fort Port New Los Las Cape River".split())
_NO_NAME = frozenset(
    "The This That These Those It He She We They You I In On At To Of For From And But Or If When What Who How Why Where Please New San Los "
    "Santa Saint Fort Mount Visual Microsoft Google Amazon Apple United Great Order Number Service Support Team Error Question Data".split()
)


@cache
def given_names() -> frozenset[str]:
    """The offline list."""
    return frozenset(LIST.read_text("utf-8").split())


_HINTS = (
    r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Monsieur|Madame|Mme|Señora?|Sra?|Signora?|Sir|Dame)\b|"
    r"(?i:\bnamed?\b|called|signed|sincerely|regards|cheers|hei(?:ß|ss)e|llamo|appelle|chiamo|patient|employee|customer|client|applicant)"
)


@cache
def trigger() -> str:
    """RE2 expression that occurs wherever there is a name: one of the listed, or a word that introduces one."""
    return rf"(?:^|[^\pL])(?:{'|'.join(sorted(given_names()))})[ \x{{a0}}]\pL|{_HINTS}"


def find_names(text: str) -> Iterator[Found]:
    """Full names, without the titles before them; they may overlap."""
    names = given_names()
    for match in _RUN.finditer(text):
        words = match.group().split()
        start = match.start()
        # "Call Grace Hopper", "Dear Ada Lovelace": the name may begin at the run's second or third word.
        for first, word in enumerate(words[:-1]):
            if word in names and not _is_place(text, start, words, first):
                end = _surname_end(words, first)
                if end > first + 1:
                    begin = start + len(" ".join(words[:first])) + (1 if first else 0)
                    yield Found("name", begin, begin + len(" ".join(words[first:end])))
                break
    for pattern in (_TITLED, _INTRODUCED):
        for match in pattern.finditer(text):
            if match.group(1).split()[0] not in _NO_NAME | _NO_SURNAME:
                yield Found("name", match.start(1), match.end(1))


def _is_place(text: str, start: int, words: list[str], first: int) -> bool:
    """Whether the word before says that a thing or a place is named: "Lake Victoria", "the James Webb Telescope"."""
    before = words[first - 1] if first else text[max(0, start - 12) : start].rpartition("\n")[2].split()[-1:]
    return (before if isinstance(before, str) else "".join(before)) in _NAMES_THING


def _surname_end(words: list[str], first: int) -> int:
    """Index behind the surname's last word; `first + 1` when there is none."""
    end = first + 1
    while end < len(words) and words[end] not in _NO_SURNAME:
        end += 1
    if end < len(words):
        return first + 1  # "Victoria Station", "Grace Hopper Award": what it names is no person
    last = words[end - 1]
    return end if len(last) > 1 and last[0].isupper() and not last.endswith(".") else first + 1
