"""Finds personal data in a text: what has a form by its form and check digits, what has none by the words around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal, get_args

import re2

from instance.chute.modules.safety import check_digits
from instance.chute.modules.safety.blocks import BLOCKS_FROM_CHARS, parts_near
from instance.chute.modules.safety.found import Found, apart
from instance.chute.modules.safety.name_trigger import trigger as name_trigger
from instance.chute.modules.safety.national_ids import find_ids
from instance.chute.modules.safety.person_names import find_names
from instance.chute.modules.safety.phone_numbers import REGIONS, find_phones
from instance.chute.modules.safety.street_addresses import TRIGGER as ADDRESS_TRIGGER
from instance.chute.modules.safety.street_addresses import find_addresses

Kind = Literal[
    "email", "phone", "card", "iban", "ssn", "ip", "passport", "national_id", "birth_date", "address", "name"
]
KINDS: tuple[Kind, ...] = get_args(Kind)

MEMORY_MAX_BYTES = 16 << 20
"""Of the states of the kinds' expressions together."""
TRIGGERS: dict[str, str] = {
    "email": r"(?i)\w at [\w-]+ dot [a-z]|[\w.+%-]\s?(?:@|[\[({]\s?at\s?[\])}])\s?[\w\[]",
    "phone": r"\d(?:[ .()/\x{a0}\x{2011}\x{2013}-]{0,3}\d){6}",
    "card": r"\d(?:[ -]?\d){12}",
    "iban": r"(?i)\b[a-z]{2}\d\d ?[a-z0-9]{4}",
    "ssn": r"\b\d{3}[- ]?\d\d[- ]?\d{4}\b",
    "ip": r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:[0-9a-fA-F]",
    "passport": r"(?i)passport|reisepass|passeport|pasaporte|passaport|paspoort|паспорт",
    "national_id": r"(?i)[a-z]{2} ?\d\d ?\d\d ?\d\d|\d{7,8}[ -]?[a-z]\b|[a-z]{6}\d\d|\d[\d .+-]{7}|licen[cs]e|identi|\bid\b",
    "birth_date": r"(?i)\bborn\b|birth|\bd\.?o\.?b\b|geburt|geboren|naissance|\bnée?(?:[^\pL]|$)|nacimiento|nacid|nascita|nato|nata|geboorte|nascimento",
    "address": ADDRESS_TRIGGER,
}
"""Kind -> RE2 expression that occurs wherever a value of the kind does; for the shared matcher."""

_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![\w-])"
)
_EMAIL_SPELLED = re.compile(
    r"(?<![\w.+%-])[\w.+%-]{1,64} ?(?:[\[({] ?at ?[\])}]|@) ?[\w-]{1,63}(?: ?(?:[\[({] ?dot ?[\])}]|\.) ?[\w-]{2,63}){1,4}",
    re.IGNORECASE,
)
_EMAIL_SPOKEN = re.compile(
    r"(?<![\w.+%-])[\w+%-]{1,64}(?: dot [\w+%-]{1,64}){0,4} at [\w-]{2,63}(?: dot [\w-]{2,63}){0,3} dot (?:com|org|net|edu|gov|info|io|co|dev|ai|app|[a-z]{2})(?![\w-])",
    re.IGNORECASE,
)
_NO_DOMAIN = frozenset(
    "png jpg jpeg gif svg webp ico css js ts tsx json html md py txt mp4 pdf local localhost lock".split()
)
_CARD = re.compile(r"(?<![\w.+])(?<!\d[-,])\d(?:[ \-\u00a0]?\d){12,18}(?!\w)(?![-.,]\d)")
_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}\d{2}(?:[ \-\u00a0]?[0-9A-Za-z]){11,30}")
_SSN = re.compile(r"(?<![\w.+-])(\d{3})([- \u2011\u2013]?)(\d{2})\2(\d{4})(?!\w)(?![-.]\d)")
_FAMOUS_SSNS = frozenset(("123456789", "078051120", "219099999", "111111111"))
"""Printed in examples and advertisements; nobody's."""
_SAYS_SSN = re.compile(r"\bssn\b|social[ -]security|\bss ?#|tax ?payer|\bsocial\b", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.+-])(?:\d{1,3}\.){3}\d{1,3}(?!\w)(?!\.\d)(?!-\w)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_SAYS_VERSION = re.compile(
    r"(?:\bv(?:er(?:sion)?)?\.?|\brelease|\bbuild|\bsection|\bchapter|==|>=|~=)\s*\Z", re.IGNORECASE
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|janv|févr|avr|mai|juin|juil|août|déc|mär|okt|dez|ene|abr|ago|dic|gen|mag|giu|lug|set|ott|fev|out)[a-zéû]*\.?"
_DATE = (
    rf"(?:\d{{4}}[-./]\d{{1,2}}[-./]\d{{1,2}}|\d{{1,2}}[-./]\d{{1,2}}[-./](?:\d{{4}}|\d\d)|"
    rf"\d{{1,2}}(?:st|nd|rd|th|er|\.)?(?: of| de)? {_MONTH}(?:,| de)? \d{{4}}|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})"
)
_BIRTH = re.compile(
    rf"(?:\bborn\b|birth|\bd\.?o\.?b\b\.?|geburt|geboren|naissance|\bnée?\b|nacimiento|nacid[oa]|nascita|\bnat[oa]\b|geboorte|nascimento)[^\n\d]{{0,40}}?(?<!\w)({_DATE})(?!\w)",
    re.IGNORECASE,
)


def trigger_of(kind: str) -> str:
    """The kind's expression for the shared matcher."""
    return name_trigger() if kind == "name" else TRIGGERS[kind]


@lru_cache(maxsize=64)
def _triggers(kinds: frozenset[str]) -> tuple[Callable[[bytes], list[int] | None], tuple[str, ...]]:
    """One set of the kinds' expressions, and whose each is."""
    ordered = tuple(sorted(kinds))
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY_MAX_BYTES
    patterns = re2.Set.SearchSet(options)
    for kind in ordered:
        patterns.Add(trigger_of(kind))
    patterns.Compile()
    return patterns.Match, ordered


def _occurring(text: str, kinds: frozenset[str]) -> frozenset[str]:
    """Those of the kinds that the text may hold a value of, by one look at it."""
    if not kinds:
        return kinds
    match, ordered = _triggers(kinds)
    hits = match(text.encode("utf-8", "replace"))
    return frozenset([ordered[hit] for hit in hits]) if hits else frozenset()


def find_personal(text: str, kinds: Iterable[str], regions: tuple[str, ...] = REGIONS) -> list[Found]:
    """The values of the asked kinds, apart and in order; where two overlap a number that proves itself wins over a phone."""
    asked = frozenset(kinds)
    if len(text) < BLOCKS_FROM_CHARS or "name" in asked:  # a name is known by what the text calls somebody elsewhere
        there = _occurring(text, asked)
        return find_occurring(text, there, regions) if there else []
    found = []
    for start, part in parts_near(text, lambda piece: _occurring(piece, asked)):
        for each in find_occurring(part, _occurring(part, asked), regions):
            found.append(Found(each.kind, start + each.start, start + each.end))
    return found


def find_occurring(text: str, asked: Collection[str], regions: tuple[str, ...] = REGIONS) -> list[Found]:
    """The same, of kinds whose expression is known to occur."""
    found: list[Found] = []
    taken: list[Found] = []
    if "email" in asked:
        found += _emails(text)
    if "card" in asked:
        found += _cards(text)
    if "iban" in asked:
        found += _ibans(text)
    if "ssn" in asked:
        found += _ssns(text)
    if "ip" in asked:
        found += _addresses(text)
    if "passport" in asked or "national_id" in asked:
        found += find_ids(text, frozenset(asked))
    if "birth_date" in asked:
        found += (Found("birth_date", *match.span(1)) for match in _BIRTH.finditer(text))
    if "phone" in asked:
        taken = apart([*found, *_not_phones(text, asked)])
        found += (
            phone
            for phone in find_phones(text, regions)
            if not any(phone.start < each.end and each.start < phone.end for each in taken)
        )
    if "address" in asked:
        found += find_addresses(text)
    if "name" in asked:
        found += find_names(text)
    return apart(found)


def _not_phones(text: str, asked: Collection[str]) -> Iterator[Found]:
    """What has a form of its own is no telephone number, whether or not it is looked for."""
    if "card" not in asked:
        yield from _cards(text)
    if "iban" not in asked:
        yield from _ibans(text)
    if "ip" not in asked:
        yield from _addresses(text)


def _emails(text: str) -> Iterator[Found]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            shown = match.group()
            start = match.start() + len(shown) - len(shown.lstrip("'`*/={|.!?&#"))
            local, _, domain = text[start : match.end()].rpartition("@")
            rest = text[match.end() : match.end() + 2]
            before = text[max(0, start - 64) : start]
            in_url = "://" in before and not re.search(r"[\s\"'<>(]", before[before.rindex("://") :])
            remote = local == "git" and rest[:1] == ":" and rest[1:].strip()
            if not local or ".." in local or local.endswith(".") or in_url or remote:
                continue
            if domain.rsplit(".", 1)[1].lower() not in _NO_DOMAIN:
                yield Found("email", start, match.end())
    for match in _EMAIL_SPELLED.finditer(text):
        if re.search(r"[\[({] ?at ?[\])}]", match.group(), re.IGNORECASE):
            yield Found("email", *match.span())

    for match in _EMAIL_SPOKEN.finditer(text):
        yield Found("email", *match.span())


def _cards(text: str) -> Iterator[Found]:
    for match in _CARD.finditer(text):
        # What follows behind a gap (an expiry date, an amount) may be no part of the number.
        shown = match.group()
        while shown:
            if check_digits.is_card(re.sub(r"\D", "", shown)):
                yield Found("card", match.start(), match.start() + len(shown))
                break
            shown = re.sub(r"(?:\A|[ \-\u00a0])\d+\Z", "", shown)


def _ibans(text: str) -> Iterator[Found]:
    for match in _IBAN.finditer(text):
        shown = match.group()
        length = check_digits.IBAN_LENGTHS.get(shown[:2].upper(), 0)
        count = 0
        for place, character in enumerate(shown):
            count += character.isalnum()
            if count == length:
                end = match.start() + place + 1
                plain = "".join(filter(str.isalnum, shown[: place + 1])).upper()
                if not text[end : end + 1].isalnum() and check_digits.iban(plain):
                    yield Found("iban", match.start(), end)
                break


def _ssns(text: str) -> Iterator[Found]:
    for match in _SSN.finditer(text):
        area, separator, group, serial = match.groups()
        if area + group + serial in _FAMOUS_SSNS or not check_digits.us_ssn(area, group, serial):
            continue
        if separator in ("-", "\u2011", "\u2013") or _SAYS_SSN.search(text, max(0, match.start() - 40), match.start()):
            yield Found("ssn", *match.span())


def _addresses(text: str) -> Iterator[Found]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            shown = match.group()
            if not _is_address(shown) or _SAYS_VERSION.search(text, max(0, match.start() - 16), match.start()):
                continue
            yield Found("ip", *match.span())


@lru_cache(maxsize=512)
def _is_address(text: str) -> bool:
    """Whether it is the address of a machine: not this one, none, a mask, or a time of the day."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or text.startswith(("255.255.", "0.")):
        return False
    return address.version == 4 or text.count(":") >= 3 or "::" in text
