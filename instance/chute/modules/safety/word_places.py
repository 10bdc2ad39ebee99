"""Where what was learned of words stands: each word, each two that follow one another, and each run of letters has a place by hash."""

from __future__ import annotations

import re
from itertools import pairwise
from zlib import crc32

from instance.chute.modules.safety.plain_form import is_ordinary, plain, unleeted

BUCKETS = 1 << 14
"""Words are counted by their hash, letters by theirs: each has so many places."""
PLACE_BITS = 14
FIRST, SECOND = 0x9E3779B1, 0x85EBCA6B
"""What the hashes of two words are multiplied with, modulo 2 to the 32nd, to be the hash of both."""
BEGIN, END = "<", ">"
"""Stand for a word before the first and behind the last."""
TOKENS_MAX = 4_000
"""Words of one text that count."""
WORD_MAX_CHARS = 40
_TOKEN = re.compile(r"(?<![@$€|!])[@$€|!]*[^\W_](?:[\w@$€|!]*[\w@$€|])?(?:'[^\W_]+)?")
"""A word with the signs that may stand for letters of it."""
_ORDINARY_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)?")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def tokens_of(text: str) -> list[str]:
    """The words of a text in lower case, as they are written."""
    if is_ordinary(text):
        return ordinary_tokens(text)
    text = plain(text).lower()
    found = _TOKEN.findall(text.replace("_", " ") if "_" in text else text)
    return found if len(found) <= TOKENS_MAX else found[:TOKENS_MAX]


def ordinary_tokens(text: str) -> list[str]:
    """The same of an ordinary text (`plain_form.is_ordinary`)."""
    found = _ORDINARY_TOKEN.findall(text.lower())
    return found if len(found) <= TOKENS_MAX else found[:TOKENS_MAX]


def word_of(token: str) -> str:
    """What a token reads as."""
    if token.isalpha() and len(token) < 3:
        return token
    return "".join(_WORD.findall(unleeted(token)))[:WORD_MAX_CHARS]


def hash_of(word: str) -> int:
    """32 bits."""
    return crc32(word.encode("utf-8", "replace"))


def run_places(word: str) -> list[int]:
    """The places of a word's runs of three and four letters, its ends among them, each once."""
    data = f" {word} ".encode("utf-8", "replace")
    if len(data) == len(word) + 2:  # cut as bytes what has one for each letter
        runs = {data[start : start + 3] for start in range(len(data) - 2)}
        runs.update([data[start : start + 4] for start in range(len(data) - 3)])
    else:
        framed = f" {word} "
        runs = {
            framed[start : start + length].encode("utf-8", "replace")
            for length in (3, 4)
            for start in range(len(framed) - length + 1)
        }
    return list({crc32(run) % BUCKETS for run in runs})


def word_places(text: str) -> tuple[list[int], list[list[int]]]:
    """The places of a text's words and pairs of words, and of each word the places of its runs of letters. What occurs more than once
    is there once."""
    tokens = tokens_of(text)
    hashes = [hash_of(each) for each in (BEGIN, *map(word_of, tokens), END)]
    words = list(map(word_of, dict.fromkeys(tokens)))
    pairs = {_of_pair(one, other) for one, other in pairwise(hashes)}
    return [hash_of(word) % BUCKETS for word in words] + sorted(pairs), list(map(run_places, words))


def _of_pair(one: int, other: int) -> int:
    return ((one * FIRST & 0xFFFFFFFF) ^ (other * SECOND & 0xFFFFFFFF)) >> 32 - PLACE_BITS
