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
MAX_CHARS = 128
NAME_CHARS = 24
"""So much of the text before a keyword belongs to its name."""
_QUOTES = ('"', "'", "`")
_SIGN = r"[\\\"'\]]{0,3}\s{0,3}(?:=>|:=|=|:|>|\"\s{1,3}value=|\s{1,20}value:)[\s\\\"'`]*\Z"
_EXPLICIT = re.compile(_SIGN)
_OF_A_KEY = re.compile(r"(?i)key[a-z0-9_-]{0,20}" + _SIGN)
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
_HUMPED = re.compile(r"[a-z]+(?:[A-Z][a-z]+)+\d{0,2}")
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
    if len(value) < MIN_CHARS or _ABOUT.search(name) or _OF_A_LIST.search(name) or is_filler(value):
        return False
    if _TO_GIVE.search(name) and not _EXPLICIT.search(name):
        return False
    if is_plain_hash(value):
        return _OF_A_KEY.search(name) is not None or _IN_A_HEADER.search(name) is not None
    if is_made_of_words(value):
        return False
    if looks_secret(value, min_entropy):
        return True
    stated = name[-1:] in _QUOTES or _EXPLICIT.search(name) is not None
    return stated and _OF_A_PASSWORD.search(name) is not None and _is_chosen(value, min_entropy)


def is_made_of_words(value: str) -> bool:
    """Whether it reads as a name or a place: words, perhaps numbered, between dashes, dots or slashes."""
    if value.startswith(("/", "./", "../", "~/")) and all(_is_word(part) for part in _PART.split(value) if part):
        return True
    return _HUMPED.fullmatch(value) is not None or (
        _WORDS.fullmatch(value) is not None and all(_is_word(part) for part in _PART.split(value))
    )


def _is_word(part: str) -> bool:
    letters = part.rstrip("0123456789")
    if not letters:
        return len(part) <= 4
    return (
        letters.isalpha()
        and len(part) - len(letters) <= 4
        and letters in (letters.lower(), letters.upper(), letters.capitalize())
    )


def _is_chosen(value: str, min_entropy: float) -> bool:
    """Whether it looks like a password that somebody thought of: three of lower case, upper case, digits and signs."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda each: not each.isalnum())
    varied = sum(any(map(kind, value)) for kind in kinds) >= 3
    return varied and class_changes(value) >= 3 and entropy_bits(value) >= min(min_entropy, 0.8 * log2(len(value)))
