"""Whether a value in code is a credential that was written into it, by the name that it stands under and by its look."""

from __future__ import annotations

import re

from instance.chute.modules.safety.secret_values import is_typed_run

MIN_CHARS = 6
_NAME = re.compile(
    r"(?i:password|passwd|passphrase|passwort|kennwort|contraseña|senha|secret[_-]?key|(?:api|access|private|signing|encryption|account|auth)[_-]?key|"
    r"(?:auth|access|api|bot)[_-]?token|client[_-]?secret)s?_?\d?\Z"
    r"|(?:\A|[_\-. ]|(?<=[a-z0-9])(?=[A-Z]))(?i:pass|pw|pwd|psw|passcode|secret|token|jwt)s?_?\d?\Z"
)
_OF_TEXTS = re.compile(
    r"(?i)(?:next|prev|pad|eos|bos|sep|cls|mask|unk|stop|start|end|special|page|sync|continuation|input|output|client|change|cancellation|csrf|parse)_?tokens?\Z"
)
"""Tokens of a language model's text, or of a list's pages."""
_PLACEHOLDER = re.compile(
    r"(?i)your|xxx|\*\*\*|\.\.\.|…|example|placeholder|change.?(?:me|this|it)|dummy|insert|replace|redacted|<[^>]*>?|\$\{|\$\(|\{\{|\A\{|\A\$\w+\Z|\A\[.*\]\Z|%[s(]|todo|"
    r"\A(?:test|none|null|secret|password|token|string|str|key|foo|bar|abc|postgres|default)\w{0,4}\Z|here\Z|\benv\b|getenv|environ|\s"
)
_PLACE = re.compile(r"(?i)(?:https?://|\.{0,2}/|~|arn:|[a-z]:\\)")
_WORDS = re.compile(r"[A-Za-z]+(?:[-_./:][A-Za-z]+)+")
_WORD = re.compile(r"[^\W\d_]+")
_ABOUT = re.compile(r"(?i)pass|secret|token|key|auth|credential|login|user|reset|label|field|header|cookie|bearer")
_CRYPTED = re.compile(r"\$(?:2[abxy]?|argon2\w*|pbkdf2[\w-]*|[156y]|scrypt)\$|pbkdf2[:_]|scrypt:|sha\d+[:$]")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SCHEME = re.compile(r"(?i)(?:bearer|token|basic|apikey|api-key|key)\s+(\S{16,})\Z")


def names_credential(name: str) -> bool:
    """Whether what stands under this name is a credential."""
    return bool(_NAME.search(name)) and not _OF_TEXTS.search(name)


def is_credential(name: str, value: str, *, among_texts: bool = False) -> bool:
    """Whether a value under this name is a credential written into the code; `among_texts`: in a table, where names like
    `password` also stand before labels and messages, a word is none."""
    if len(value) < MIN_CHARS or not names_credential(name):
        return False
    return looks_given(value) and not (among_texts and (_WORD.fullmatch(value) or _WORDS.fullmatch(value)))


def looks_given(value: str) -> bool:
    """Whether it may be a password or key: no placeholder, place, hash, or name of one that is made of words."""
    if _PLACEHOLDER.search(value) or _PLACE.match(value) or _CRYPTED.match(value) or _UUID.fullmatch(value):
        return False
    return not (_WORDS.fullmatch(value) and _ABOUT.search(value))


def is_password(value: str) -> bool:
    """Whether a value that stands where a password does is one, by its look alone: letters and digits or signs, no word."""
    return len(value) >= MIN_CHARS and looks_given(value) and not value.isalpha() and not value.isdigit()


def in_header(name: str, value: str) -> bool:
    """Whether a header's value is a credential: a key of its own, or one behind the scheme of `Authorization`."""
    if name.lower() in ("authorization", "proxy-authorization"):
        scheme = _SCHEME.match(value)
        value = scheme.group(1) if scheme is not None else ""
        return is_password(value) and any(map(str.isdigit, value)) and not is_typed_run(value)
    return is_credential(name, value, among_texts=True)
