"""What can be checked of an answer without a reference: addresses, identifiers of works, citations, quotations and sums."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from instance.chute.modules.safety.stated_sums import SUM_BEGINS, SUMS, wrong_sums
from instance.chute.quick_look import QuickLook

_TLDS = frozenset(
    (
        # ISO 3166 countries and what else is delegated with two letters
        "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc cd cf cg ch ci ck cl cm cn co cr "
        "cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht "
        "hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo "
        "mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd "
        "se sg sh si sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws "
        "ye yt za zm zw "
        # generic ones in use
        "com org net edu gov mil int info biz name pro aero coop museum jobs mobi travel tel cat asia post xxx arpa app dev page web blog cloud online site "
        "store shop tech space website world today news media press agency company group team work works solutions services systems software digital network "
        "email host hosting domains design studio art photo photos gallery video film music band audio game games fun live life love one zone center city "
        "country earth global international community social chat club vip xyz top wiki academy school education university college science institute health "
        "care clinic doctor dental hospital pharmacy fitness yoga bio eco green energy solar bank finance financial money credit loan insurance fund capital "
        "ventures investments tax legal law lawyer attorney estate house homes property properties rent build builders construction engineering tools "
        "industries supply supplies market marketing sale deals discount gift gifts cards shopping fashion clothing shoes jewelry beauty food restaurant cafe "
        "coffee bar pub wine beer pizza kitchen recipes hotel hotels flights cruises holiday vacations tours voyage taxi car cars auto bike racing run "
        "football soccer golf tennis hockey cricket dog pet pets vet baby kids family dating wedding flowers garden farm horse organic london paris berlin "
        "hamburg koeln wien tokyo nyc amsterdam brussels madrid barcelona moscow istanbul africa scot wales quebec bzh bayern google youtube amazon "
        "microsoft apple ibm aws azure bmw sony bbc foundation ngo ong charity church faith law codes computer data ai technology security support help guide "
        "how tips plus best cool ninja guru expert rocks lol wtf fyi ink link click direct directory report reviews review exchange trade trading cash "
        "delivery express moe icu buzz fans stream download zip mov"
    ).split()
)
_NO_HOST = frozenset("test example invalid localhost local internal".split())
_URL = re.compile(r"\bhttps?://[^\s<>\"'`\\^{}|\])]+|(?<![\w@./-])www\.[^\s<>\"'`\])]+", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+'-]+@[\w.-]+\w")
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+(?:[^\W\d_]{2,63}|xn--[a-z0-9-]{2,59})\Z")
_DOI = re.compile(r"\b(?:doi:\s*(?=\S*\d)|doi\s+(?=\d)|doi\.org/)(\S+)|(?<![\w/])(10\.\d+/\S+)", re.IGNORECASE)
_DOI_FORM = re.compile(r"10\.\d{4,9}(?:\.\d+)*/[^\s\"<>]+\Z")
_ISBN = re.compile(r"\bISBN(?:-1[03])?:?\s*([\dX][\dX -]{8,20}[\dX])", re.IGNORECASE)
_ARXIV = re.compile(r"\barxiv(?:\.org/abs/|:)\s*([^\s,;)\]]+)", re.IGNORECASE)
_ARXIV_FORM = re.compile(r"(?:(\d\d)(\d\d)\.(\d{4,5})(?:v\d+)?|[a-z-]+(?:\.[A-Z]{2})?/\d{7}(?:v\d+)?)\Z")
_CITED = re.compile(r"(?<![\w\]\[`])(?<=[\s.,;:)\"”])\[(\d{1,3}(?:\s*[,–-]\s*\d{1,3})*)\](?!\(|\w)")
_LISTED = re.compile(
    r"(?m)^\s*(?:[-*]\s*)?\[(\d{1,3})\][:\s]|\[(\d{1,3})\]:|<(?:doc|document|source)[^>]{0,40}\b(?:id|index|n)=[\"']?(\d{1,3})"
)
_QUOTE = re.compile(r"[\"“«]([^\"“”«»\n]{20,400})[\"”»]")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_TWO_SIGNS = re.compile(r"(?<![\w.+-])[\w.+'-]+@{2,}[\w.-]+\w")

_LOOK = QuickLook(_CODE, _URL, (_EMAIL, _TWO_SIGNS), (_DOI, _ISBN, _ARXIV), _CITED, _QUOTE, SUMS)
_HAS_CODE, _HAS_URL, _HAS_EMAIL, _HAS_WORK, _HAS_CITATION, _HAS_QUOTE, _HAS_SUM = range(7)


_BEGINS = {
    "url": (r"https?://", r"www\."),
    "email": (r"[\w.+'-]@",),
    "citation": (r"\bdoi(?::|\s+\d|\.org/)", r"10\.\d+/", r"\bisbn", r"\barxiv[.:]", r"\[\d"),
    "arithmetic": SUM_BEGINS,
}
_BEGIN_QUOTE = re.compile('["“«]')


FACT, QUOTE, MORE = range(3)


@cache
def fact_look(checks: frozenset[str], more: tuple[re.Pattern[str], ...] = ()) -> QuickLook:
    """A look for what facts begin with that the asked checks look at (`FACT`), and for quotations (`QUOTE`), which are doubted
    only where the prompt gives a text to rest on. Of a text in which it sees nothing the checks doubt nothing. `more` is looked for
    beside them (`MORE`). One for each set of checks: to make it takes milliseconds."""
    asked = [begin for check, begins in _BEGINS.items() if check in checks for begin in begins]
    return QuickLook(
        [re.compile(begin, re.IGNORECASE) for begin in asked], [_BEGIN_QUOTE] if "citation" in checks else [], more
    )


class Doubt(NamedTuple):
    """Something in a text that looks made up, and why."""

    start: int
    end: int
    why: str


def doubts(answer: str, prompt: str, checks: frozenset[str], *, grounded: bool) -> Iterator[Doubt]:
    """What looks made up in an answer, by the asked checks. `grounded`: the prompt gives a text to rest on."""
    may_have = _LOOK(answer)
    if not may_have:
        return
    prose = _without_code(answer, may_have)
    if "url" in checks and _HAS_URL in may_have:
        for match in _URL.finditer(prose):
            if match.group() not in prompt and not is_url(match.group()):
                yield Doubt(*match.span(), "url")
            elif grounded and _is_other_page(match.group(), prompt):
                yield Doubt(*match.span(), "address")
    if "email" in checks and _HAS_EMAIL in may_have:
        for match in _TWO_SIGNS.finditer(prose):
            yield Doubt(*match.span(), "email")
        for match in _EMAIL.finditer(prose):
            if match.group() not in prompt and not is_email(match.group()):
                yield Doubt(*match.span(), "email")
            elif grounded and match.group() not in prompt and "@" + match.group().rpartition("@")[2] in prompt:
                yield Doubt(*match.span(), "address")
    if "citation" in checks:
        if _HAS_WORK in may_have:
            yield from _works(prose, prompt)
        if _HAS_CITATION in may_have:
            yield from _citations(prose, prompt)
        if grounded and _HAS_QUOTE in may_have:
            known = _plain(prompt)
            for match in _QUOTE.finditer(prose):
                if len(match.group(1).split()) >= 4 and _plain(match.group(1)) not in known:
                    yield Doubt(*match.span(), "quote")
    if "arithmetic" in checks and _HAS_SUM in may_have:
        for start, end in wrong_sums(prose):
            yield Doubt(start, end, "arithmetic")


def _without_code(text: str, may_have: frozenset[int]) -> str:
    """The text with blanks in the place of code."""
    return _CODE.sub(lambda match: " " * len(match.group()), text) if _HAS_CODE in may_have else text


def is_url(text: str) -> bool:
    """Whether an address could exist: its form, and a top-level domain that there is."""
    text = text.rstrip(".,;:!?")
    try:
        parts = urlsplit(text if "://" in text else "https://" + text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){3}", host):
        return all(int(part) < 256 for part in host.split("."))
    return host in _NO_HOST or is_host(host)


def _is_other_page(url: str, prompt: str) -> bool:
    """Whether a prompt names pages of an address's host, and not this one."""
    bare = url.rstrip(".,;:!?/").partition("://")[2] or url
    bare = bare.removeprefix("www.").rstrip("/").partition("#")[0]
    host, _, path = bare.partition("/")
    return bool(path) and f"{host}/" in prompt and bare not in prompt


def is_host(host: str) -> bool:
    """Whether a name's form is right and its last label is a known top-level domain."""
    if not _HOST.match(host):
        return False
    last = host.rpartition(".")[2].lower()
    return last in _TLDS or last in _NO_HOST or last.startswith("xn--")


def is_email(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    return 0 < len(local) <= 64 and ".." not in text and local[0] != "." != local[-1] and is_host(domain)


def _works(answer: str, prompt: str) -> Iterator[Doubt]:
    for match in _DOI.finditer(answer):
        doi = (match.group(1) or match.group(2)).rstrip(".,;)]")
        if doi not in prompt and not _DOI_FORM.match(doi):
            yield Doubt(*match.span(), "doi")
    for match in _ISBN.finditer(answer):
        if not is_isbn(match.group(1)):
            yield Doubt(*match.span(), "isbn")
    for match in _ARXIV.finditer(answer):
        form = _ARXIV_FORM.match(match.group(1).rstrip("."))
        if form is None or (form.group(2) and not 1 <= int(form.group(2)) <= 12):
            yield Doubt(*match.span(), "arxiv")


def is_isbn(text: str) -> bool:
    """By its check digit, of ten or thirteen digits."""
    plain = re.sub(r"[ -]", "", text).upper()
    if re.fullmatch(r"\d{9}[\dX]", plain):
        return sum((10 - at) * (10 if digit == "X" else int(digit)) for at, digit in enumerate(plain)) % 11 == 0
    if re.fullmatch(r"97[89]\d{10}", plain):
        return sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(plain)) % 10 == 0
    return False


def _citations(answer: str, prompt: str) -> Iterator[Doubt]:
    """Numbers in brackets that point to no source of the prompt, nor of a list in the answer."""
    listed = {int(next(filter(None, numbers))) for text in (prompt, answer) for numbers in _LISTED.findall(text)}
    for match in _CITED.finditer(answer):
        line = answer.rfind("\n", 0, match.start()) + 1
        if not answer[line : match.start()].strip(" -*"):
            continue  # an entry of the list itself
        if any(int(number) not in listed for number in re.findall(r"\d+", match.group(1))):
            yield Doubt(*match.span(), "citation")


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).casefold().strip()


def named_addresses(answer: str, checks: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Where a text names a URL or an e-mail address, of those that are checked."""
    may_have = _LOOK(answer)
    prose = _without_code(answer, may_have)
    if "url" in checks and _HAS_URL in may_have:
        for match in _URL.finditer(prose):
            shown = match.group().rstrip(".,;:!?")
            yield match.start(), shown if "://" in shown else "https://" + shown
    if "email" in checks and _HAS_EMAIL in may_have:
        for match in _EMAIL.finditer(prose):
            yield match.start(), match.group()
