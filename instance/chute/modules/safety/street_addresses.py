"""Street addresses in text: a house number with a word for a street, in the forms of several languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from instance.chute.modules.safety.found import Found
from instance.chute.quick_look import QuickLook

_WORD = r"[A-ZÀ-ÖØ-Þ0-9][\w'’.\-]*"
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Circle|Cir|Place|Pl|Square|Sq|Terrace|Ter|Way|"
    r"Parkway|Pkwy|Highway|Hwy|Close|Crescent|Cres|Gardens|Grove|Mews|Gate|Walk|Hill|Rise|Row|Trail|Alley|Quay|Broadway)\b(?:\.(?= ?[\w,]))?(?: (?:NW|NE|SW|SE|N|S|E|W)\b)?"
)
_UNIT = r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|#)\.? ?#?[\w-]+)?"
_TOWN = rf"(?:, {_WORD}(?: {_WORD}){{0,2}})?(?:,? [A-Z]{{2}}(?= \d{{5}}))?(?:,? (?:\d{{5}}(?:-\d{{4}})?|[A-Z]{{1,2}}\d[A-Z\d]? ?\d[A-Z]{{2}}))?"
_ENGLISH = re.compile(
    rf"(?<![\w.,/-])\d{{1,5}}[A-Za-z]?(?:[-/]\d{{1,4}})? (?:(?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\.? )?(?:{_WORD} ){{1,3}}?{_STREET}{_UNIT}{_TOWN}"
)
_GERMAN = re.compile(
    r"(?<!\w)(?:[A-ZÄÖÜ][\wäöüß.\-]*(?:straße|strasse|str\.|weg|platz|allee|gasse|ufer|damm|ring|straat|gracht|laan|plein|kade|gatan|vägen|gate|vej)|"
    r"(?:[A-ZÄÖÜ][\wäöüß\-]* ){1,2}(?:Straße|Strasse|Str\.|Weg|Platz|Allee|Gasse|Ufer|Damm|Ring)) \d{1,4} ?[a-z]?(?:-\d{1,4})?\b(?:, ?(?:[A-Z]-)?\d{4,5} [A-ZÄÖÜ][\wäöüß\-]+)?"
)
_ROMANCE = re.compile(
    r"(?<!\w)(?:\d{1,4}(?: ?(?:bis|ter))?,? (?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Pp]lace|[Cc]hemin|[Ii]mpasse|[Qq]uai|[Aa]llée|[Cc]ours) (?:de la |de l['’]|des |du |de |d['’])?[A-ZÀ-Þ][\w'’\-]*(?: (?:de la |de |des |du )?[A-ZÀ-Þ][\w'’\-]*){0,3}"
    r"|(?:[Cc]alle|[Aa]venida|[Aa]v(?:da)?\.|[Pp]laza|[Pp]aseo|[Vv]ia|[Vv]iale|[Pp]iazza|[Cc]orso|[Rr]ua|[Pp]raça) (?:de la |de los |de |del |della |dei |da |do )?[A-ZÀ-Þ][\w'’\-]*(?: (?:de la |de |del )?[A-ZÀ-Þ][\w'’\-]*){0,3},? (?:n[.º°]? ?)?\d{1,4}\b)"
    r"(?:, ?\d{5} [A-ZÀ-Þ][\w\-]+)?"
)
_POLISH = re.compile(
    r"(?<!\w)(?:ul\.|al\.|pl\.|os\.|ulica) [A-ZĄĆĘŁŃÓŚŹŻ][\w.\-]*(?: [A-ZĄĆĘŁŃÓŚŹŻ][\w.\-]*){0,2} \d{1,4}[a-zA-Z]?(?:/\d{1,4})?\b(?:, ?\d\d-\d{3} [A-ZĄĆĘŁŃÓŚŹŻ]\w+)?"
)
_WITH_TOWN = re.compile(
    r"(?<!\w)[A-ZÀ-Þ][\w'’.\-]*(?: [A-ZÀ-Þ][\w'’.\-]*){0,2} \d{1,4} ?[a-z]?, ?(?:[A-Z]{1,2}-)?\d{4,5} [A-ZÀ-Þ][\w\-]+"
)
_POST_BOX = re.compile(r"(?<!\w)(?:P\.? ?O\.? ?Box|Postfach|Apartado|Boîte postale) \d{1,7}\b", re.IGNORECASE)


TRIGGER = (
    r"\p{Nd}[A-Za-z]? [A-Z\p{Nd}\x{c0}-\x{de}]"
    r"|(?:straße|strasse|str\.|weg|platz|allee|gasse|ufer|damm|ring|straat|gracht|laan|plein|kade|gatan|vägen|gate|vej|Straße|Strasse|Str\.|Weg|Platz|Allee|Gasse|Ufer|Damm|Ring) \p{Nd}"
    r"|\p{Nd}(?: ?(?:bis|ter))?,? (?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Pp]lace|[Cc]hemin|[Ii]mpasse|[Qq]uai|[Aa]llée|[Cc]ours) "
    r"|(?:[Cc]alle|[Aa]venida|[Aa]v(?:da)?\.|[Pp]laza|[Pp]aseo|[Vv]ia|[Vv]iale|[Pp]iazza|[Cc]orso|[Rr]ua|[Pp]raça) [dA-Z\x{c0}-\x{de}]"
    r"|(?:ul\.|al\.|pl\.|os\.|ulica) [A-ZĄĆĘŁŃÓŚŹŻ]"
    r"|\p{Nd} ?[a-z]?, ?(?:[A-Z][A-Z]?-)?\p{Nd}{4}\p{Nd}? [A-Z\x{c0}-\x{de}]"
    r"|\p{Nd}[a-z]? [a-z]+ (?:[a-z]+ )?(?:street|avenue|road|lane|boulevard|drive|court|crescent|terrace)\b"
    r"|(?i:P\.? ?O\.? ?Box|Postfach|Apartado|Boîte postale) \p{Nd}"
)
"""RE2 expression that occurs wherever there is an address: of each form what stands beside its number."""

_SMALL_STREET = r"(?:street|avenue|road|lane|boulevard|drive|court|crescent|terrace)"
_SMALL = re.compile(
    rf"\b(?:at|to|address is|address:|live on|lives on|i['’]?m on) (\d{{1,5}}[a-z]? (?:(?!(?:way|lane|wheel|mile|km|kilomet\w+|minute|hour|day|year|man|part|more|other|new|of|in|test|hard)\b)[a-z]{{3,15}} ){{1,2}}{_SMALL_STREET})\b(?! (?:names?|map|lights?))",
)
"""As people write in chats, where words before it say that it is one."""
_COUNTS = re.compile(
    r"\b(?:level|version|step|chapter|table|figure|section|page|part|phase|tier|day|week|type|grade|season|episode|volume|line|top|v) \Z",
    re.IGNORECASE,
)
"""Before a number that is no house's: "Level 3 Support Way"."""

_PATTERNS = (_ENGLISH, _GERMAN, _ROMANCE, _POLISH, _WITH_TOWN, _POST_BOX, _SMALL)
_LOOK = QuickLook(*_PATTERNS)


def find_addresses(text: str) -> Iterator[Found]:
    """Addresses with what follows of unit, town and code."""
    for index in sorted(_LOOK(text)):
        for match in _PATTERNS[index].finditer(text):
            if match.start() and _COUNTS.search(text, max(0, match.start() - 12), match.start()):
                continue
            start = match.start(match.lastindex or 0)
            yield Found("address", start, start + len(text[start : match.end()].rstrip(" ,")))
