"""The format of keys: made, hashed, shown. Pure; the control plane makes its keys with it too."""

from __future__ import annotations

from hashlib import sha256
from secrets import token_urlsafe

PREFIXES: dict[str, str] = {
    "proxy": "sk-sy-",
    "app": "sy_",
    "admin": "sy_admin_",
    "instance": "sy_inst_",
    "operator": "sy_op_",
    "account": "sy_acct_",
}

SCOPES: frozenset[str] = frozenset(
    {"proxy:call", "content:read", "content:opt_out", "studio:run", "forge:run", "self", "admin"}
    | {
        f"{app}:{right}"
        for app in ("proxy", "observe", "trust", "studio", "forge", "exchange", "billing", "teams", "memory", "config")
        for right in ("read", "write")
    }
)
"""What a key of an instance may be given; `instance` belongs to the control plane's own key alone."""

DEFAULT_SCOPES: dict[str, frozenset[str]] = {
    "proxy": frozenset(("proxy:call", "self")),
    "app": frozenset(("self",)),
    "admin": frozenset(("admin", "self")),
    "instance": frozenset(("instance",)),
}
"""What a key of a kind holds when nothing else is asked for."""

RANDOM_BYTES = 32
GIVEN_CHARACTERS_MIN = 12
KEY_CHARACTERS_MAX = 512

_LONGEST_FIRST = sorted(PREFIXES.items(), key=lambda item: -len(item[1]))


def make_key(kind: str) -> str:
    """A new key of a kind of `PREFIXES`: the prefix and 43 base64url characters of 32 random bytes."""
    return PREFIXES[kind] + token_urlsafe(RANDOM_BYTES)


def hash_key(key: str) -> bytes:
    """SHA-256 of the key's text: the only form in which a key is kept."""
    return sha256(key.encode()).digest()


def kind_of(key: str) -> str:
    """The kind that the key's prefix says; empty for text that is no key of ours."""
    for kind, prefix in _LONGEST_FIRST:
        if key.startswith(prefix):
            return kind
    return ""


def display(key: str) -> str:
    """How a key is shown after it was made: its first 12 and last 4 characters."""
    return f"{key[:12]}…{key[-4:]}"


def require_given(key: str, kind: str) -> str:
    """The same key; raises `ValueError` when a key that a person gave cannot be one of this kind."""
    prefix = PREFIXES[kind]
    rest = key.removeprefix(prefix)
    if kind_of(key) != kind:
        raise ValueError(f"a key of kind {kind} begins with {prefix}")
    if len(rest) < GIVEN_CHARACTERS_MIN:
        raise ValueError(f"a key has at least {GIVEN_CHARACTERS_MIN} characters after {prefix}")
    if len(key) > KEY_CHARACTERS_MAX or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"a key has at most {KEY_CHARACTERS_MAX} printable ASCII characters and no spaces")
    return key
