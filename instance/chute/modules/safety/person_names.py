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
_WHOLE_NAME = re.compile(_NAME)
_CAPITAL_WORD = re.compile(r"[A-ZÀ-ÖØ-ÞĀ-Ž](?<!\w.)\w*")
_BLANK = frozenset(" \u00a0")
_LINKS = frozenset("'’-")
_GOES_ON = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZvdleabit")
"""What begins the second word of a name: a capital, or one of `_JOINT`; letters beyond ASCII are not listed."""
_TITLES = frozenset(
    "Mr Mrs Ms Miss Mx Dr Prof Professor Senator President Judge Captain Officer Sergeant Colonel Minister Mayor Pastor Father Sister Nurse Doctor Coach "
    "Herr Herrn Frau Monsieur Madame Mme Señor Señora Don Doña Sr Sra Signor Signora Sir Dame".split()
)
_TITLE = rf"(?:{'|'.join(sorted(_TITLES))})"
_TITLED = re.compile(
    rf"\b(?:{_TITLE}\.?[ \u00a0]){{1,3}}((?!{_TITLE}\b)(?:{_PART}|[A-Z]\.)(?:[ \u00a0](?:{_JOINT}[ ])?{_PART}){{0,2}})"
)
_INTRODUCES = re.compile(
    r"\b(?:(?:[Mm]y|[Hh]is|[Hh]er|[Tt]heir|[Yy]our) (?:full )?name is|[Nn]ame(?:d)?:?|[Cc]alled|[Ss]igned,?|[Ss]igned by|[Ss]incerely,?|[Rr]egards,?|[Cc]heers,?|[Ii]ch hei(?:ß|ss)e|[Mm]e llamo|[Jj]e m['’]appelle|[Mm]i chiamo|[Pp]atient:?|[Ee]mployee:?|"
    r"[Cc]ustomer:?|[Cc]lient:?|[Aa]pplicant:?|[Aa]ttn:?|[Aa]ttention:|[Cc]/o|[Aa]ssigned to:?|[Oo]wner:|[Mm]anager:|[Aa]uthor:|[Cc]ontact:|[Tt]enant:?|[Ww]itness:?,?)\s+\Z"
)
_RELATES = re.compile(
    r"\b(?:[Ii] (?:met|saw|know|called|emailed|spoke (?:to|with))|(?:said|says|asked|replied|interview(?:ed)? (?:with)?|written by|spoke (?:to|with)|speak (?:to|with)|talk(?:ed)? (?:to|with)|ask for|"
    r"(?:[Mm]y|[Hh]is|[Hh]er|[Oo]ur|[Tt]heir|[Yy]our) (?:brother|sister|mother|father|wife|husband|son|daughter|aunt|uncle|cousin|friend|colleague|neighbou?r|boss|partner|boyfriend|girlfriend|grandmother|grandfather|nephew|niece|assistant|lawyer|doctor)))[ ,]\s?\Z"
)
_ANNOUNCED_BY = frozenset(
    f" {word}"[-3:]
    for word in (
        "is name named called signed by sincerely regards cheers heiße heisse llamo appelle chiamo patient employee customer client applicant "
        "attn attention c/o to owner manager author contact tenant witness met saw know emailed with said says asked replied interview "
        "interviewed for brother sister mother father wife husband son daughter aunt uncle cousin friend colleague neighbor neighbour boss "
        "partner boyfriend girlfriend grandmother grandfather nephew niece assistant lawyer doctor"
    ).split()
)
"""How the last words of `_INTRODUCES` and `_RELATES` end."""
ANNOUNCEMENT_MAX_CHARS = 40
"""None of these is longer."""
_GREETINGS = frozenset(
    "Dear Hi Hello Hey Liebe Lieber Hallo Cher Chère Bonjour Hola Estimado Estimada Caro Cara Ciao".split()
)
_GREETED = re.compile(rf"(?:{'|'.join(sorted(_GREETINGS))}) ({_NAME})(?=\s*[,!:\n])")
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
    """Full names, without the titles before them; they may overlap. Linear in the text.

    Each begins with a capital letter, and most capitals only begin a sentence: they are found first, and what is looked for at
    each is what its neighbours allow. Of what has one form the next begins where the one before ended, as in a search."""
    run_end = act_end = title_end = introduced_end = related_end = greeted_end = 0
    for capital in _CAPITAL_WORD.finditer(text):
        start, end = capital.span()
        behind, further = text[end : end + 1], text[end + 1 : end + 2]
        if (behind in _BLANK and (further in _GOES_ON or further > "\x7f")) or behind in _LINKS:
            match = _RUN.match(text, start) if start >= run_end else None
            if match is not None:
                run_end = match.end()
                yield from _of_run(text, match)
            match = _ACTS.match(text, start) if start >= act_end else None
            if match is not None:
                act_end = match.end()
                yield from _without_others(text, match.start(1), match.end(1))
        word = capital.group()
        if word in _TITLES and start >= title_end:
            match = _TITLED.match(text, start)
            if match is not None:
                title_end = match.end()
                yield from _without_others(text, match.start(1), match.end(1))
        if word in _GREETINGS and start >= greeted_end and _begins_line_or_sentence(text, start, greeted_end):
            match = _GREETED.match(text, start)
            if match is not None:
                greeted_end = match.end()
                yield from _without_others(text, match.start(1), match.end(1))
        before = text[start - 1] if start else ""
        if before != "," and not before.isspace():
            continue
        said = start - 1
        while said and (text[said - 1].isspace() or text[said - 1] in ":,"):
            said -= 1
        if text[max(0, said - 3) : said].lower() not in _ANNOUNCED_BY:
            continue
        since = said - ANNOUNCEMENT_MAX_CHARS
        if _INTRODUCES.search(text, max(introduced_end, since), start) is not None:
            match = _WHOLE_NAME.match(text, start)
            if match is not None:
                introduced_end = match.end()
                yield from _without_others(text, start, introduced_end)
        if _RELATES.search(text, max(related_end, since), start) is not None:
            match = _WHOLE_NAME.match(text, start)
            if match is not None:
                related_end = match.end()
                yield from _without_others(text, start, related_end)
    if '"' in text or "'" in text:
        for match in _FIELDS.finditer(text):
            if match.group(1)[0].isupper():
                yield Found("name", *match.span(1))


def _of_run(text: str, match: re.Match[str]) -> Iterator[Found]:
    """The names in a run of words with capitals."""
    names = given_names()
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
    if len(words) <= 3 and words[0] in _FAMILY_FIRST and not _NO_SURNAME & set(words) and all(map(str.istitle, words)):
        yield Found("name", start, match.end())


def _begins_line_or_sentence(text: str, start: int, since: int) -> bool:
    """Whether a line begins at `start`, or a new line or the end of a sentence or a quote is all that stands before it, not before
    `since`."""
    place = start
    while place > since and text[place - 1].isspace():
        place -= 1
        if text[place] == "\n":
            return True
    return start == 0 or text[start - 1] == "\n" or (place > since and text[place - 1] in '.!?"')


def _is_given(word: str, names: frozenset[str]) -> bool:
    return word in names or ("-" in word and word.partition("-")[0] in names)


def _without_others(text: str, start: int, end: int) -> Iterator[Found]:
    """The name that a word announces, as far as its words may be of a name; none where the first is not."""
    words = text[start:end].split()
    if words[0] in _TITLES:
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
