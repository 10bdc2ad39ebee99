"""Telephone numbers in text: candidates by shape, judged by libphonenumber's plans and by the words before them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from instance.chute.modules.safety.found import Found

CONTEXT_CHARS = 40
REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "IN", "AU", "BR")
"""Whose national forms are known when nothing else is asked for; numbers with a country code are known of all."""

_CANDIDATE = re.compile(
    r"(?:(?<![\w/=#$€£@])|(?<==)(?=\+))(?<!\d[.,:-])(?:\+|00(?=[1-9]))?\(?\d[\d()]*(?:(?: ?[.\-/\u2011\u2013] ?|[ \u00a0])\(?\d+(?:(?:\)\(?|\()\d+)*\)?)*(?![\w@])(?![-./:]\d)"
)
"""Between two runs of digits stands something: where they could be told apart in more than one way, a long number that is none took seconds."""
_NORTH_AMERICAN = re.compile(
    r"(?:\+?1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d([ .\-\u2011\u2013]))\d{3}[ .\-\u2011\u2013]\d{4}\Z"
)
_DATE = re.compile(r"(?:\d{4}[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4})(?:[ T]\d{1,2})?\Z")
_SAYS_PHONE = re.compile(
    r"phone|\bmy (?:new )?number\b|\btel\b|\btel[.:e]|mobile|\bcell\b|cellular|\bcall(?:s|ed|ing|back)?\b|\bdial|\bring\b|\bsms\b|\btext(?:ed)?\b|whatsapp|telegram|signal|"
    r"\bfax\b|\breach\b|contact|hotline|\bmob\b|\bph\b|handy\b|telefon|teléfono|telefono|téléphone|appele|numéro|portable|"
    r"rufnummer|anrufen|ll[aá]m|chiam|bellen|celular|móvil|numero di",
    re.IGNORECASE,
)
_SAYS_OTHER = re.compile(
    r"\border\b|invoice|ticket|\bref\b|reference|tracking|isbn|issn|serial|\bsku\b|\bpart\b|model|version|account|"
    r"\bcase\b|\bid\b|\bids\b|timestamp|epoch|\bport\b|coordinates?|latitude|longitude|\bpin\b|\bzip\b|\bsiret\b|\bean\b|\bupc\b|"
    r"barcode|customer (?:no|number)|batch|\blot\b|room|bestell|rechnung|commande|pedido|factura|iban|card|\bpo\b|licen[cs]e|policy (?:no|number)",
    re.IGNORECASE,
)


def find_phones(text: str, regions: Sequence[str] = REGIONS) -> Iterator[Found]:
    """Numbers that can be called: in international form, in the national form of one of the regions, or named as such."""
    for match in _CANDIDATE.finditer(text):
        start, end = match.span()
        shown = text[start:end]
        while end > start and shown.endswith(("(", " ")):
            end -= 1
            shown = text[start:end]
        if shown.count("(") < shown.count(")"):
            end -= len(shown) - len(shown.rstrip(")"))
            shown = text[start:end]
        digits = sum(map(str.isdigit, shown))
        if 7 <= digits <= 15 and not _DATE.match(shown):
            before = text[max(0, start - CONTEXT_CHARS) : start]
            if _is_phone(shown, digits, before, regions):
                yield Found("phone", start, end)


def _is_phone(shown: str, digits: int, before: str, regions: Sequence[str]) -> bool:
    named = _last(_SAYS_PHONE, before)
    other = _last(_SAYS_OTHER, before)
    if other > named:
        return False
    international = shown.startswith(("+", "00"))
    if international:
        return _possible(shown) if shown[0] == "+" else _valid("+" + shown[2:], None)
    grouped = any(not character.isdigit() for character in shown)
    if _NORTH_AMERICAN.match(shown):
        return True
    if named >= 0:
        return (grouped and digits <= 12) or any(_valid(shown, region) for region in regions)
    # Without a word for it, only a number with a trunk zero written in groups is one: other digits are mostly something else.
    if not grouped or not shown.lstrip("(").startswith("0") or digits < 9:
        return False
    return any(_valid(shown, region) for region in regions)


def _last(pattern: re.Pattern[str], text: str) -> int:
    return max((match.start() for match in pattern.finditer(text)), default=-1)


def _valid(number: str, region: str | None) -> bool:
    import phonenumbers  # its tables are loaded when the first number is judged, not at the start

    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False


def _possible(number: str) -> bool:
    """Whether a number with its country's code has a length of that country: plans are often behind what is given out."""
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_possible_number_with_reason(parsed) == phonenumbers.ValidationResult.IS_POSSIBLE)
