"""Names of people in text: given names of an offline list before a surname, titles, and words that introduce a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from instance.chute.modules.safety.found import Found

LIST = Path(__file__).with_name("given_names.txt")

_PART = r"(?:(?:O['’]|Mc|Mac|D['’])[A-Z][a-zß-öø-ÿ]+|[A-ZÀ-ÖØ-ÞĀ-Ž][a-zß-öø-ÿā-ž]+(?:['’\-](?!s\b)[A-ZÀ-ÖØ-Þ]?[a-zß-öø-ÿ]+)*)"
_JOINT = r"(?:van der|van den|van de|van|von der|von|de la|de los|del|de|da|dos|di|du|le|la|el|al|bin|ibn|ben|ter)"
_RUN = re.compile(rf"(?<![\w’'])({_PART})((?:[ \u00a0](?:[A-Z]\.|{_JOINT}|{_PART})){{1,4}})(?![\w])")
_NAME = rf"{_PART}(?:[ \u00a0](?:[A-Z]\.|{_JOINT}|{_PART})){{0,3}}"
_TITLE = r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Senator|President|Judge|Captain|Officer|Sergeant|Colonel|Minister|Mayor|Pastor|Father|Sister|Nurse|Doctor|Coach|Herrn?|Frau|Monsieur|Madame|Mme|Señora?|Don|Doña|Sra?|Signora?|Sir|Dame)"
_IS_TITLE = re.compile(_TITLE)
_TITLED = re.compile(
    rf"\b(?:{_TITLE}\.?[ \u00a0]){{1,3}}((?!{_TITLE}\b)(?:{_PART}|[A-Z]\.)(?:[ \u00a0](?:{_JOINT}[ ])?{_PART}){{0,2}})"
)
_INTRODUCED = re.compile(
    rf"\b(?:(?:[Mm]y|[Hh]is|[Hh]er|[Tt]heir|[Yy]our) (?:full )?name is|[Nn]ame(?:d)?:?|[Cc]alled|[Ss]igned,?|[Ss]igned by|[Ss]incerely,?|[Rr]egards,?|[Cc]heers,?|[Ii]ch hei(?:ß|ss)e|[Mm]e llamo|[Jj]e m['’]appelle|[Mm]i chiamo|[Pp]atient:?|[Ee]mployee:?|"
    rf"[Cc]ustomer:?|[Cc]lient:?|[Aa]pplicant:?|[Aa]ttn:?|[Aa]ttention:|[Cc]/o|[Aa]ssigned to:?|[Oo]wner:|[Mm]anager:|[Aa]uthor:|[Cc]ontact:|[Tt]enant:?|[Ww]itness:?,?)\s+({_NAME})"
)
_RELATED = re.compile(
    rf"\b(?:[Ii] (?:met|saw|know|called|emailed|spoke (?:to|with))|(?:said|says|asked|replied|interview(?:ed)? (?:with)?|written by|spoke (?:to|with)|speak (?:to|with)|talk(?:ed)? (?:to|with)|ask for|"
    rf"(?:[Mm]y|[Hh]is|[Hh]er|[Oo]ur|[Tt]heir|[Yy]our) (?:brother|sister|mother|father|wife|husband|son|daughter|aunt|uncle|cousin|friend|colleague|neighbou?r|boss|partner|boyfriend|girlfriend|grandmother|grandfather|nephew|niece|assistant|lawyer|doctor)))[ ,]\s?({_NAME})"
)
_GREETED = re.compile(
    rf"(?m)(?:^|[\n.!?\"]\s*)(?:Dear|Hi|Hello|Hey|Liebe[r]?|Hallo|Cher|Chère|Bonjour|Hola|Estimad[oa]|Caro|Cara|Ciao) ({_NAME})(?=\s*[,!:\n])"
)
_ACTS = re.compile(
    rf"(?<![\w’.-])({_PART}(?:[ \u00a0](?:[A-Z]\.|{_JOINT}|{_PART})){{1,3}})(?= (?:said|says|told|asked|replied|wrote|agreed|lives|lived|was born|attended|smiled|answered|explained|signed the|married|moved to|will call|called me|emailed|phoned|resigned|retired)\b)"
)
_FIELDS = re.compile(
    r"(?i)[\"'](?:first|last|given|family|sur|full|middle|nick|contact|customer|user|patient|employee|display)[_ -]?name[\"']\s*:\s*[\"']([^\"'\\\n]{2,60})[\"']"
)
_FAMILY_FIRST = frozenset(
    "Li Wang Zhang Chen Liu Yang Zhao Huang Zhou Wu Xu Sun Hu Zhu Lin He Guo Ma Luo Nguyen Tran Pham Hoang Phan Vu Dang Bui Kim Choi Jung Kang Cho Yoon Jang Lim".split()
)
_NO_SURNAME = frozenset(
    "Street Road Avenue Lane Drive Park City County Island Bay River Lake Hill Valley Beach Square Bridge Airport Station University "
    "College School Hospital Museum Church Cathedral Tower Hotel Inc Ltd Corp Company Group Bank Studio Code Cloud Server Office Windows "
    "Day Week Month Year January February March April June July August September October November December Monday Tuesday Wednesday "
    "Thursday Friday Saturday Sunday The And But Or For With From Is Are Was Were Has Have Can Could Will Would Should May Might Must "
    "Please Thanks Hello Dear Award Prize Theorem Law Effect Test Disease Syndrome Foundation Institute Center Centre Stadium World "
    "Kingdom States Republic Ocean Sea North South East West Testament Bible Version Edition Series Show Framework Language Library "
    "Access Complete Period Pond Garden Gardens Sponge Cake Cream Forest Press Media Foods Motors Airlines Software Systems Technologies Labs Records Times Post Act Line Rule Score Index Curve Boss Vuitton Deere Daniel "
    "Engine Machine Project Plan Report Table Figure Page Section Button Menu File Folder Settings Mode Search Login Token Key Value Data Filter Transform Network Tree Forest Bayes Benz Romeo Card Account Store Shop Market "
    "Plaza Mall Cup League Model Method Algorithm Process Theory Number Distribution Team Club".split()
)
_NAMES_THING = frozenset("the The Santa San Saint St St. Lake Mount Mt Mt. Fort Port New Los Las Cape River".split())
_NO_NAME = frozenset(
    "The This That These Those It He She We They You I In On At To Of For From And But Or If When What Who How Why Where Please New San Los "
    "Santa Saint Fort Mount Visual Microsoft Google Amazon Apple United Great Order Number Service Support Team Error Question Data Dear Hi Hello Sir Madam All Everyone Everybody Colleagues Friends Folks Customer Customers User Users Guest Member Reader Both "
    "There Valued World Ladies Gentlemen Students Parents Good Happy Best Kind Thanks Thank Yes No Not Our My Your His Her Their Its A An As By Is Are Was".split()
)


@cache
def given_names() -> frozenset[str]:
    """The offline list."""
    return frozenset(LIST.read_text("utf-8").split())


_CAPITAL = r"[A-Z\x{c0}-\x{17d}]"
_HINTS = (
    rf"\b{_TITLE}\b\.?[ \x{{a0}}]{_CAPITAL}|"
    r"(?i:\bname is|\bnamed?\b:?|called|signed|signed by|sincerely|regards|cheers|hei(?:ß|ss)e|llamo|appelle|chiamo|patient:?|employee:?|customer:?|client:?|applicant:?|attn:?|attention:|c/o|assigned to:?|"
    r"owner:|manager:|author:|contact:|tenant|witness|said|says|asked|replied|interviewe?d?(?: with)?|written by|spoke (?:to|with)|speak (?:to|with)|talk(?:ed)? (?:to|with)|ask for|"
    r"\bi (?:met|saw|know|emailed)|\b(?:dear|hi|hello|hey|lieber?|hallo|cher|chère|bonjour|hola|estimad[oa]|car[oa]|ciao)|"
    r"\b(?:my|his|her|our|their|your) (?:brother|sister|mother|father|wife|husband|son|daughter|aunt|uncle|cousin|friend|colleague|neighbou?r|boss|partner|boyfriend|girlfriend|grand\w+|nephew|niece|assistant|lawyer|doctor)),?\s+[A-Z\x{c0}-\x{17d}]|"
    r"(?i:name)[\"']\s*:|[A-Z\x{c0}-\x{17d}][a-z\x{df}-\x{17f}.-]+[ \x{a0}][A-Z\x{c0}-\x{17d}][a-z\x{df}-\x{17f}.-]+ (?:said|says|told|asked|replied|wrote|agreed|lives|lived|was born|attended|smiled|answered|explained|signed the|married|moved to|will call|called me|emailed|phoned|resigned|retired)\b"
)


@cache
def trigger() -> str:
    """RE2 expression that occurs wherever there is a name: one of the listed, or a word that introduces one."""
    families = "|".join(sorted(_FAMILY_FIRST))
    return rf"(?:^|[^\pL])(?:{'|'.join(sorted(given_names()))})(?:[ \x{{a0}}]\pL|-{_CAPITAL})|(?:^|[^\pL])(?:{families})[ \x{{a0}}]{_CAPITAL}|{_HINTS}"


def find_names(text: str) -> Iterator[Found]:
    """Full names, without the titles before them; they may overlap."""
    names = given_names()
    for match in _RUN.finditer(text):
        words = match.group().split()
        start = match.start()
        # "Call Grace Hopper", "Dear Ada Lovelace": the name may begin at the run's second or third word.
        for first, word in enumerate(words[:-1]):
            if _is_given(word, names) and not _is_place(text, start, words, first):
                end = _surname_end(words, first)
                if end > first + 1:
                    begin = start + len(" ".join(words[:first])) + (1 if first else 0)
                    yield Found("name", begin, begin + len(" ".join(words[first:end])))
                break
        if (
            len(words) <= 3
            and words[0] in _FAMILY_FIRST
            and not _NO_SURNAME & set(words)
            and all(map(str.istitle, words))
        ):
            yield Found("name", start, match.end())
    for pattern in (_TITLED, _INTRODUCED, _RELATED, _GREETED, _ACTS):
        for match in pattern.finditer(text):
            yield from _without_others(text, match.start(1), match.end(1))
    for match in _FIELDS.finditer(text):
        if match.group(1)[0].isupper():
            yield Found("name", *match.span(1))


def _is_given(word: str, names: frozenset[str]) -> bool:
    return word in names or ("-" in word and word.partition("-")[0] in names)


def _without_others(text: str, start: int, end: int) -> Iterator[Found]:
    """The name that a word announces, as far as its words may be of a name; none where the first is not."""
    words = text[start:end].split()
    if _IS_TITLE.fullmatch(words[0]):
        return
    kept = next((place for place, word in enumerate(words) if word in _NO_NAME or word in _NO_SURNAME), len(words))
    if kept == len(words):
        yield Found("name", start, end)
    elif kept > 1:
        shown = text[start:end]
        yield Found("name", start, start + shown.index(words[kept]) - 1)


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
