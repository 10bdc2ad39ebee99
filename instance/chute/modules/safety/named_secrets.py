"""Secrets that stand behind a name, `password = ..` or `the token for .. is ..`: where the value ends, and whether it counts."""

from __future__ import annotations

import re
from math import log2

from instance.chute.modules.safety.secret_values import (
    class_changes,
    entropy_bits,
    is_filler,
    is_plain_hash,
    looks_secret,
)

MIN_CHARS = 8
MAX_CHARS = 2_048
NAME_CHARS = 24
"""So much of the text before a keyword belongs to its name."""
_QUOTES = ('"', "'", "`")
_SIGN = r"[\\\"'\]]{0,3}\s{0,3}(?:=>|:=|=|:|>|\"\s{1,3}value=|\s{1,20}value:)[\s\\\"'`]*\Z"
_EXPLICIT = re.compile(_SIGN)
_OF_A_KEY = re.compile(r"(?i)(?:key|token|[a-z0-9][_-]?secret)[a-z0-9_-]{0,20}" + _SIGN)
"""A value of a hash's form counts where the name is that of a key or token; `secret` alone may be a digest."""
_MARKED_HASH = re.compile(r"sha\d+-")
_OF_A_PASSWORD = re.compile(r"(?i)pass|pwd|kennwort|contrase|senha|key")
_ABOUT = re.compile(
    r"(?i)(?:path|file(?:name)?|folder|dir|ur[il]|name|arn|type|length|len|counts?|field|input|ttl|expir\w*|lifetime|days|header|endpoint|regex|pattern|prefix|version|"
    r"label|hash(?:es)?|digest|sha\d*|checksum|fingerprint|alg\w*|provider|size|index|column|ref|manager|generator|izers?|policy|format|class|scopes?|key_?id|hint|title|text)"
    r"[\"'\]\\]*\s{0,3}(?:=>|:=|[=:> ]|is\b|was\b)[\s\\\"'`]*\Z"
)
"""Names that end so say something about a secret and hold none."""
_OF_A_LIST = re.compile(
    r"(?i)(?:page|next|prev(?:ious)?|continuation|sync|cursor|cancel\w*|change|csrf|pad|eos|bos)[_ -]?token"
)
_TO_GIVE = re.compile(r"(?i)(?:\b|_)pass[\s\"'`]*\Z")
"""`pass` as a verb: without a sign behind it no password follows."""
_IN_A_HEADER = re.compile(r"(?i)authorization[\"']?\s*:\s*[\"']?token ")
_NEXT_FIELD = re.compile(r"&[A-Za-z_]\w*=")
_WORDS = re.compile(r"[A-Za-z]+\d{0,2}(?:[-_./:]+[A-Za-z]*\d{0,4})*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]|\Z)")
_HUMPED = re.compile(r"[a-z]+(?:[A-Z][a-z]+)+\d{0,2}")
_RARE_SIGNS = frozenset("#%^&@$+=~!*")
_ADDRESS = re.compile(r"@[\w-]+\.")
_PART = re.compile(r"[-_./:]+")


def value_end(text: str, start: int, end: int) -> int:
    """Where the value ends that was found up to `end`: at its closing quote, or before the next field of a query."""
    quote = text[start - 1 : start]
    if quote and quote in _QUOTES:
        close = text.find(quote, start, start + MAX_CHARS + 1)
        between = text[start:close] if close >= 0 else ""
        return close if between and not any(map(str.isspace, between)) else end
    following = _NEXT_FIELD.search(text, start, end)
    return following.start() if following is not None else end


def counts(name: str, value: str, min_entropy: float) -> bool:
    """Whether a value is a secret; `name` is the text from a little before its keyword up to it."""
    if (
        not MIN_CHARS <= len(value) <= MAX_CHARS
        or _ABOUT.search(name)
        or _OF_A_LIST.search(name)
        or is_filler(value)
        or _DATE.match(value)
    ):
        return False
    if _TO_GIVE.search(name) and not _EXPLICIT.search(name):
        return False
    if is_plain_hash(value):
        return (_OF_A_KEY.search(name) is not None and not _MARKED_HASH.match(value)) or _IN_A_HEADER.search(
            name
        ) is not None
    if is_made_of_words(value):
        return False
    if looks_secret(value, min_entropy):
        return True
    if not _OF_A_PASSWORD.search(name):
        return False
    stated = name[-1:] in _QUOTES or _EXPLICIT.search(name) is not None
    return _is_chosen(value, min_entropy) if stated else _is_chosen_in_prose(value, min_entropy)


def is_made_of_words(value: str) -> bool:
    """Whether it reads as a name or a place: words, perhaps numbered, between dashes, dots or slashes."""
    if value.startswith(("/", "./", "../", "~/")) and all(_is_word(part) for part in _PART.split(value) if part):
        return True
    return _HUMPED.fullmatch(value) is not None or (
        _WORDS.fullmatch(value) is not None and all(_is_word(part) for part in _PART.split(value))
    )


def _is_word(part: str) -> bool:
    """Whether a part is a word or several humped ones, perhaps with a number, or a number: kinds of characters change seldom in it."""
    letters = part.rstrip("0123456789")
    if not letters:
        return len(part) <= 4
    if not letters.isalpha() or len(part) - len(letters) > 4:
        return False
    return letters in (letters.lower(), letters.upper(), letters.capitalize()) or len(letters) >= 3 * (
        class_changes(letters) + 1
    )


def _is_chosen(value: str, min_entropy: float) -> bool:
    """Whether it looks like a password that somebody thought of: three of lower case, upper case, digits and signs."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda each: not each.isalnum())
    varied = sum(any(map(kind, value)) for kind in kinds) >= 3
    return varied and class_changes(value) >= 3 and entropy_bits(value) >= min(min_entropy, 0.8 * log2(len(value)))


def _is_chosen_in_prose(value: str, min_entropy: float) -> bool:
    """The same behind words alone, where emphasis, hyphens and addresses look like signs."""
    plain = value.strip(".!?*_-")
    return any(each in _RARE_SIGNS for each in plain) and not _ADDRESS.search(plain) and _is_chosen(plain, min_entropy)
