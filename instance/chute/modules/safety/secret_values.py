"""Whether a value is a secret: checksums, entropy for its length, and what stands for one without being one."""

from __future__ import annotations

import binascii
import itertools
import re
from base64 import b64decode, urlsafe_b64decode
from collections import Counter
from math import log2
from zlib import crc32

import orjson

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def entropy_bits(text: str) -> float:
    """Shannon entropy of the text's characters, in bits per character."""
    length = len(text)
    return -sum(count / length * log2(count / length) for count in Counter(text).values()) if length else 0.0


def random_looking(token: str) -> bool:
    """Whether the part behind the prefix varies as random text does: rules out `xxxx…` and `1234…` fillers."""
    prefix = token[:12].rfind("_") + 1
    body = token[prefix:]
    return (
        len(set(body)) >= 8 and entropy_bits(body) >= 2.8 and "EXAMPLE" not in body.upper() and not is_typed_run(body)
    )


def class_changes(value: str) -> int:
    """How often the kind of character changes along a value: lower case, upper case, digit, sign. Words change seldom."""
    kinds = ["d" if each.isdigit() else "u" if each.isupper() else "l" if each.isalpha() else "s" for each in value]
    return sum(one != other for one, other in itertools.pairwise(kinds))


_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_ENTROPY_SHARE = 0.88
"""Of the most that the value's length or alphabet allows: eight different characters of eight are three bits each."""


def looks_secret(value: str, min_entropy: float) -> bool:
    """Whether a value behind a keyword was made at random or as a password: letters and digits that alternate, hardly a character
    twice. What is measured is the entropy for the length: no twelve characters have 3.8 bits each."""
    letters, figures = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    if not letters or not figures:
        return False
    if _HEX.fullmatch(value):
        return len(value) >= 32 and entropy_bits(value) >= min(min_entropy, 4 * 0.8)
    changes = class_changes(value)
    if len(value) < 12 and (changes < 4 or (value.isalnum() and value.upper() == value)):
        return False
    return changes >= 3 and entropy_bits(value) >= min(min_entropy, _ENTROPY_SHARE * log2(len(value)))


def is_typed_run(value: str) -> bool:
    """Whether it was typed along the alphabet or the keys: `abc123def456`, `0123456789abcdef`, `aaaabbbb`."""
    steps = [ord(other) - ord(one) for one, other in itertools.pairwise(value.lower())]
    return bool(steps) and sum(step in (0, 1) for step in steps) >= len(steps) * 0.6


def basic_credentials(encoded: str) -> bool:
    """Whether it is base64 of `user:password`."""
    try:
        user, colon, password = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode().partition(":")
    except ValueError:
        return False
    return bool(user and colon) and password.isprintable() and real_password(password)


def github_checksum(token: str) -> bool:
    """Whether the last six characters are the CRC-32 of the random part in base 62."""
    body, check = token.split("_", 1)[1][:-6], token[-6:]
    value = crc32(body.encode())
    digits = ""
    while value:
        value, digit = divmod(value, 62)
        digits = _BASE62[digit] + digits
    return check == digits.rjust(6, "0")


def jwt_header(token: str) -> bool:
    """Whether the part before the first dot decodes to a JSON object that names an algorithm."""
    head = token.split(".", 1)[0]
    try:
        header = orjson.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(header, dict) and "alg" in header


_PLACEHOLDER_WORDS = re.compile(
    r"(?i)x{4,}|\*{3,}|\.{3,}|your|example|sample|placeholder|change.?me|dummy|redacted|secret:|insert|replace|todo|fake|"
    r"test.?(?:key|token|pass)|AKIAIOSFODNN7|<[^>]*>|\$\{|\{\{|process\.env|os\.environ|getenv|undefined"
)
_UUID = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PLAIN_HASH = re.compile(
    r"(?:sha(?:1|256|384|512)-[A-Za-z0-9+/=]+|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})"
)
_CRYPTED = re.compile(r"\$(?:2[abxy]?|argon2\w*|pbkdf2[\w-]*|scrypt|[156y])\$")
_PLAIN_PASSWORDS = frozenset(("password", "passwd", "pass", "secret", "user", "root", "postgres", "admin", "guest"))


def is_placeholder(value: str) -> bool:
    """Whether a value stands for a secret rather than being one: `your-key`, `xxxx`, UUIDs, hashes as in lock files."""
    return is_filler(value) or is_plain_hash(value)


def is_filler(value: str) -> bool:
    """Whether it is a word for a value that is to be put in, was typed along the keys, or is an id or the hash of a password."""
    return bool(_PLACEHOLDER_WORDS.search(value) or _UUID.fullmatch(value) or _CRYPTED.match(value)) or is_typed_run(
        value
    )


def is_plain_hash(value: str) -> bool:
    """Whether it has the form of a hash, as in lock files and of commits."""
    return _PLAIN_HASH.fullmatch(value) is not None


def real_password(value: str) -> bool:
    """Whether the password of a connection string is one: no placeholder and none of the names that examples use."""
    return value.lower() not in _PLAIN_PASSWORDS and not is_placeholder(value)


def given_password(value: str) -> bool:
    """Whether a password on a command line is one, not the name of a variable or a placeholder."""
    return real_password(value) and not value.startswith("$") and class_changes(value) >= 3


def opaque_token(value: str) -> bool:
    """Whether a bearer token is one."""
    return not is_placeholder(value) and looks_secret(value, 3.5)
