"""Secrets at rest: AES-256-GCM under the instance's secret key, which never lies inside the database."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"
_SALT = b"stockyard secret key 1"
_PASSPHRASE_MIN = 16


class SecretError(Exception):
    """A sealed secret cannot be opened with this key."""


class SecretBox:
    """Seals and opens secrets under one 32-byte key. Sealed: version byte, 12-byte nonce, ciphertext with its tag."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a secret key has {KEY_BYTES} bytes")
        self._aead = AESGCM(key)

    def seal(self, secret: bytes, context: bytes = b"") -> bytes:
        """The secret encrypted; `context` must be given again to open it, which keeps it from being moved elsewhere."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, secret, context)

    def open(self, sealed: bytes, context: bytes = b"") -> bytes:
        """The secret; raises `SecretError` when it was sealed under another key or was changed."""
        if sealed[:1] != _VERSION:
            raise SecretError("the sealed secret has an unknown version")
        try:
            return self._aead.decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], context)
        except (InvalidTag, ValueError) as error:
            raise SecretError("the secret was sealed under another key, or was changed") from error


def key_from_text(text: str) -> bytes:
    """A key from what an operator gave: 32 bytes in hex or base64, else derived from a passphrase by scrypt.

    Raises `ValueError` for fewer than 16 characters.
    """
    text = text.strip()
    try:
        if len(text) == 2 * KEY_BYTES:
            return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if len(raw) == KEY_BYTES:
            return raw
    except ValueError:
        pass
    if len(text) < _PASSPHRASE_MIN:
        raise ValueError(
            f"a secret key is 32 bytes in hex or base64, or a passphrase of {_PASSPHRASE_MIN} characters or more"
        )
    return hashlib.scrypt(text.encode(), salt=_SALT, n=1 << 14, r=8, p=1, dklen=KEY_BYTES)


def load_or_make(path: Path) -> bytes:
    """The key in the file; a new one is made, readable by its owner alone, when there is none."""
    try:
        return key_from_text(path.read_text())
    except FileNotFoundError:
        pass
    key = secrets.token_bytes(KEY_BYTES)
    write_key(path, key)
    return key


def write_key(path: Path, key: bytes) -> None:
    """Write the key to its file, readable by its owner alone; the file appears whole, in place of another."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
