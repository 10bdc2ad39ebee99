"""What stands before and behind a run of words is worth as evidence that it is somebody's name."""

from __future__ import annotations

import re

import re2

from instance.chute.modules.safety.name_shapes import is_known_given
from instance.chute.modules.safety.name_stops import LOWER_THINGS, THINGS
from instance.chute.modules.safety.name_words import (
    ACTS,
    BEFORE,
    BELONGS,
    CLOSINGS,
    GREETINGS,
    LABELS,
    LOWER_TITLES,
    OWNERS,
    PERSONS,
    RELATIVES,
    ROLES,
    SAYS,
    WEAK_LABELS,
)

CONTEXT_CHARS = 48
"""How much is read before and behind a run."""
GAP_MAX_CHARS = 3
LINK_MAX_CHARS = 6
KEY_CHARS = 160
"""How far before a quoted value its key is looked for."""
SIGNATURE_WORDS = 6
"""A line of more words closes no letter."""
_LINK = re.compile(r"(?:,? (?:and|und|et|y|e|och|og|en|or|oder|o|ou)|,|;|/| &)[ \n]|,? ?[&/] ?")
_BEGINS = frozenset('.!?:\n"“”«»*#>|•(-–—[')
_BEHIND = re.compile(r"(['’]s)?[ \u00a0]([\w'’-]+)")
_HAPPENS = re.compile(r" (?:was born|will call|called me|signed the|a dit|ha detto|hat gesagt)\b")
_REACHED = re.compile(r"\s?(?:[,:–—-]\s?)?[(<\[]?(?:mailto:)?(?:([\w.+%-]{1,64})@|\+?\d[\d ()-]{6})")
_APPOSED = re.compile(
    r", (?:(?:our|my|the|an?|his|her|their|your|el|la|le|die|der) [a-z]|\d{1,2}[,)]|who\b|whose\b|aged\b|geb\.|née?\b)| \((?:\d{1,3}|he|she|they|[a-z]+ )[),/ ]"
)
_LINE_BELOW = re.compile(
    r"[ \t]*\n(?:\d|[^\n]{2,40} \d{1,4}[a-z]?(?:,|\n|\Z)|"
    r"(?:[A-Z]\w+ ){0,3}(?:Manager|Engineer|Director|Officer|Sales|Support|Assistant|Analyst|Developer|Consultant|Lead|Head|CEO|CTO|CFO|Professor|Department|Inc|Ltd|GmbH)\b)"
)
"""An address or an office in the line below."""
_IS = frozenset("is was are were ist war est es è".split())
_IS_THING = re.compile(
    r" \w+ (?:(?:an?|the|both|all|ein|eine|un|une|una|el|la|le) )?(?:[\w-]+ ){0,2}?(?:musical|novel|film|movie|book|play|series|show|song|album|opera|game|band|brand|restaurant|store|hotel|company|firm|startup|"
    r"language|framework|library|tool|model|variant|assistant|algorithm|method|city|cities|town|village|country|countries|state|river|mountain|lake|island|district|suburb|character|hurricane|storm|"
    r"street|unit|month|season|flower|colou?r|stone|Stadt|Sprache|Firma|ville|langue|ciudad|lenguaje|empresa|città|lingua)s?\b"
)
"""That it is a thing: "Mary Poppins is a musical"."""
_ADDRESSED = re.compile(
    r"(?:,|!+|\?)\s(?:can|could|please|pls|would|will you|are you|do you|did you|have you|thanks|thank|i|I|I'm|I’m|we|you|your|what|how|when|where|why|let|just|long|got|happy|good|great|sorry|here|this|that|it|any|quick)\b"
)
"""Behind somebody who is spoken to: "Ngozi, can you come?"."""
_STATE = re.compile(
    r", (?:[A-Z]{2}\b(?! [A-Z])|Texas|Florida|California|Ohio|Italy|France|Spain|Germany|Canada|Australia|England)"
)
"""Behind a town."""
_CODE = re.compile(r"[=`_@\\/\[{]| = |::|->|\(\)|\(self|[.(][a-z]")
_PERSONS_KEY = re2.compile(
    r"(?i)[\"'](?:e-?mail|phone|mobile|age|birth\w*|dob|gender|ssn|salary|department|job_?title|role|nationality|married|first_?name)[\"']\s*:"
)
_NAMES_FIELD = re2.compile(
    r"(?i)(?:first|last|given|family|sur|full|middle|nick|contact|customer|user|patient|employee|display|client|student|guest|tenant|author|owner|manager|sender|recipient|card_?holder|"
    r"account_?holder|person)[_ -]?name$|\w_by$|assigned_?to$"
)
_OF_SOMEONE = LABELS | ROLES | {"full", "contact", "first", "last", "your", "my"}


def begins(text: str, start: int) -> bool:
    """Whether a sentence, a line or a quotation begins there, so that a capital says nothing."""
    place = start
    while place and text[place - 1] in " \t\u00a0":
        place -= 1
    return not place or text[place - 1] in _BEGINS


def _begins_line(text: str, start: int) -> bool:
    return start <= 0 or text[max(0, start - 4) : start].rstrip(" *>-")[-1:] in ("", "\n", "]")


def ends_line(text: str, end: int) -> bool:
    """Whether nothing but a mark stands between there and the line's end."""
    rest = text[end : end + 2]
    return not rest or rest[0] == "\n" or rest in (".", ",", ".\n", ",\n", " \n", "\r\n") or text[end:].isspace()


def linked(text: str, end: int, start: int) -> bool:
    """Whether what begins at `start` is listed with what ends at `end`."""
    return 0 < start - end <= LINK_MAX_CHARS and _LINK.fullmatch(text, end, start) is not None


def before(text: str, start: int, end: int, first: str) -> float:
    """What stands before the words from `start` to `end` is worth; `first` is the first of them."""
    shown = text[max(0, start - CONTEXT_CHARS) : start]
    if not shown:
        return 0.0
    if shown[-1] in "\"'":
        return _of_key(text, start, end)
    bare = shown.rstrip()
    gap = shown[len(bare) :]
    line = bare.rpartition("\n")[2].lower()
    tail = line.split()[-3:]
    if not tail or (not gap and bare[-1] not in ".,:!*") or len(gap) > GAP_MAX_CHARS:
        return 0.0
    if "\n" in gap:
        closes = tail[-1].rstrip(",.!:–-") in CLOSINGS and len(line.split()) <= SIGNATURE_WORDS
        if closes and ends_line(text, end):
            return 3.5
        points = BEFORE.get(" ".join(tail[-2:]), 0.0)
        return points if points >= 4.0 else 0.0
    word = tail[-1].strip("*_") if tail[-1][-1] in "*_" else tail[-1]
    if not word or word in "—–--":
        return 2.0 if len(tail) == 1 and word != "-" and ends_line(text, end) else 0.0
    if word[-1] == ":":
        return _of_label([*tail[:-1], word])
    if word[-1] == ",":
        return _of_apposition(text, end, word[:-1])
    if word[-1] in ".!?;)":
        return BEFORE.get(word, 3.0 if word.rstrip(".") in LOWER_TITLES else 0.0)
    tail[-1] = word = word.lstrip("(\"'“-*")
    if word in GREETINGS:
        lead = bare[: len(bare) - len(word)].rstrip(" ")
        opens = not lead or lead[-1] in _BEGINS or word in ("morning", "afternoon", "evening")
        return 3.5 if opens and (text[end : end + 1] in ",!:\n.?" or is_known_given(first)) else 0.0
    if word in CLOSINGS and len(tail) <= 2 and ends_line(text, end):
        return 3.0
    return _of_phrase(tail)


def _of_phrase(tail: list[str]) -> float:
    """What the last words before a name are worth, of which the longest phrase counts."""
    word = tail[-1]
    previous = tail[-2].strip(",") if len(tail) > 1 else ""
    if word in RELATIVES and previous in OWNERS:
        return 4.0
    for count in range(len(tail), 0, -1):
        points = BEFORE.get(" ".join(tail[-count:]))
        if points is None:
            continue
        if word in ("named", "called") and (previous in RELATIVES or previous in PERSONS):
            return 3.5
        if word in ("is", "was") and (previous in ROLES or previous in RELATIVES):
            return 2.5
        return points
    if word in LOWER_TITLES:
        return 3.5
    return 2.5 if word in ROLES or word in RELATIVES else 0.0


def _of_apposition(text: str, end: int, word: str) -> float:
    """What a word with a comma is worth: "the witness, Ada Quux", "said, Ada", "Regards, Ada"."""
    if word in RELATIVES or word in ROLES:
        return 2.5
    if word in CLOSINGS:
        return 3.5 if ends_line(text, end) else 0.0
    if word == "attn":
        return 3.0
    return 2.0 if word in SAYS else 0.0


def _of_label(tail: list[str]) -> float:
    """What a label with a colon is worth: "Attendees:", "Full name:"."""
    label = tail[-1].rstrip(":").strip("*_-#|>[]()\"'")
    previous = tail[-2].lstrip("*-") if len(tail) > 1 else ""
    if not label:
        return 0.0
    if label in LABELS or label in ("duty", "person") or _NAMES_FIELD.search(label):
        return 3.0
    if label == "name" and previous in _OF_SOMEONE:
        return 3.0
    if label in WEAK_LABELS:
        return 2.5 if not previous or label not in ("name", "from", "to", "de", "an", "para", "by") else 2.0
    return 2.5 if label in ROLES else 0.0


def _of_key(text: str, start: int, end: int) -> float:
    """What the key is worth of a quoted value that is the whole name."""
    if text[end : end + 1] != text[start - 1]:
        return 0.0
    name = _key_of(text, start)
    if name is None:
        return 0.0
    if (
        name in LABELS
        or name.removesuffix("s") in LABELS
        or name.rpartition("_")[2] in LABELS
        or _NAMES_FIELD.search(name)
    ):
        return 3.0
    if name in WEAK_LABELS or name in ROLES:
        return 2.5 if _PERSONS_KEY.search(text[max(0, start - KEY_CHARS) : end + KEY_CHARS]) else 1.0
    return 0.0


def _key_of(text: str, start: int) -> str | None:
    """The key of a quoted value, also of one in a list."""
    ahead = text[max(0, start - KEY_CHARS) : start - 1].rstrip()
    if ahead.endswith(","):
        opened = ahead.rfind("[")
        if opened < 0 or "]" in ahead[opened:]:
            return None
        ahead = ahead[: opened + 1]
    ahead = ahead.removesuffix("[").rstrip()
    if not ahead.endswith(":"):
        return None
    ahead = ahead[:-1].rstrip()
    quote = ahead[-1:]
    begin = ahead.rfind(quote, 0, -1) if quote in ("'", '"') else -1
    return ahead[begin + 1 : -1].lower() if begin >= 0 else None


def behind(text: str, end: int, count: int, first: str) -> float:
    """What stands behind `count` words that begin with `first` is worth."""
    shown = text[end : end + CONTEXT_CHARS]
    if not shown:
        return 0.0
    if shown[0] in " '’\u00a0":
        match = _BEHIND.match(shown)
        if match is not None:
            owns, word = match.groups()
            lower = word.lower()
            if owns:
                if word[0].isupper():
                    return -2.0 if word in THINGS else 0.0
                return 2.0 if lower in BELONGS else 1.5 if is_known_given(first) and lower not in ACTS else 0.5
            if lower in SAYS or _HAPPENS.match(shown):
                return 3.0 if is_known_given(first) else 2.5 if count > 1 else 2.0
            if lower in ACTS:
                return -3.0 if lower in _IS and _IS_THING.match(shown) else 1.5
            if lower in _IS and _IS_THING.match(shown):
                return -3.0
            if word in LOWER_THINGS:
                return -2.0
    if shown.startswith(" & ") or _STATE.match(shown):
        return -2.0
    if _CODE.match(shown):
        return -3.0
    reached = _REACHED.match(shown)
    if reached is not None:
        if reached[1]:
            return 3.0 if first[:3].lower() in reached[1].lower() else 2.5
        return 2.5 if is_known_given(first) else 2.0
    if shown[0] == ":" and shown[1:2] in (" ", "\n", ""):
        return 1.5 if count > 1 or (is_known_given(first) and _begins_line(text, end - len(first))) else 0.5
    if shown[0] in ",!" and is_known_given(first) and begins(text, end - len(first)) and _ADDRESSED.match(shown):
        return 1.5
    if _APPOSED.match(shown):
        return 1.5
    return 2.0 if count > 1 and _LINE_BELOW.match(shown) else 0.0
