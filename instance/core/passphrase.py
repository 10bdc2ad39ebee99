"""A secret under a passphrase that a person chose, so that it can travel in a file: scrypt and AES-256-GCM."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any

from instance.core.secrets import KEY_BYTES, SecretBox, SecretError

PASSPHRASE_MIN = 12
PASSPHRASE_MAX = 1024
_N, _R, _P = 1 << 15, 8, 1
KDF = {"name": "scrypt", "n": _N, "r": _R, "p": _P}
"""Cost by RFC 7914: 32 MiB and about a tenth of a second for each guess. Others are refused: the file chooses no cost here."""
_SALT_BYTES = 16
_MEMORY_MAX = 64 << 20


def require_passphrase(passphrase: str) -> str:
    """The same passphrase; raises `ValueError` for one that protects nothing."""
    if not PASSPHRASE_MIN <= len(passphrase) <= PASSPHRASE_MAX:
        raise ValueError(f"a passphrase has {PASSPHRASE_MIN} to {PASSPHRASE_MAX} characters")
    return passphrase


def seal_under(passphrase: str, secret: bytes, context: bytes) -> dict[str, Any]:
    """The secret sealed, as a JSON object; `context` must be given again to open it."""
    salt = os.urandom(_SALT_BYTES)
    sealed = SecretBox(_key(passphrase, salt)).seal(secret, context)
    return {"kdf": KDF, "salt": _text(salt), "cipher": "AES-256-GCM", "sealed": _text(sealed)}


def open_under(passphrase: str, document: Any, context: bytes) -> bytes:
    """The secret; raises `SecretError` for another passphrase, another context, or a changed or unknown document."""
    if not isinstance(document, dict) or document.get("kdf") != KDF or document.get("cipher") != "AES-256-GCM":
        raise SecretError("the secret is sealed in a way that this version does not know")
    try:
        salt, sealed = (base64.b64decode(str(document[name]), validate=True) for name in ("salt", "sealed"))
    except (KeyError, ValueError) as error:
        raise SecretError("the sealed secret is damaged") from error
    return SecretBox(_key(passphrase, salt)).open(sealed, context)


def _key(passphrase: str, salt: bytes) -> bytes:
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY_MAX, dklen=KEY_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
