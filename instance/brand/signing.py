"""The Ed25519 key that signs the ledger's head. Made on first use; its private half lies sealed in the database."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from instance.brand.chain import signed_message

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from instance.core.core import Core


SEALED_AS = b"ledger signing key"


class Signer:
    """Signs with the newest key of the database."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._key: Ed25519PrivateKey | None = None
        self.public_key = ""

    async def ready(self) -> None:
        """Load the key, or make and store it."""
        if self._key is not None:
            return
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        stored = await self._core.database.read(_newest)
        if stored is None:
            stored = await self._core.writer.write(self._make)
        key = Ed25519PrivateKey.from_private_bytes(self._core.secrets.open(stored, SEALED_AS))
        self.public_key = key.public_key().public_bytes_raw().hex()
        self._key = key

    def sign(self, message: bytes) -> str:
        """Hexadecimal signature; `ready()` was awaited before."""
        assert self._key is not None
        return self._key.sign(message).hex()

    def sign_head(self, seq: int, entry_hash_hex: str) -> str:
        """The signature that `/api/trust/ledger/head` publishes."""
        return self.sign(signed_message(seq, entry_hash_hex))

    def _make(self, connection: sqlite3.Connection) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        existing = _newest(connection)
        if existing is not None:
            return existing
        key = Ed25519PrivateKey.generate()
        sealed = self._core.secrets.seal(key.private_bytes_raw(), SEALED_AS)
        connection.execute(
            "INSERT INTO ledger_signing_keys (created_at_ns, public_key, sealed_private) VALUES (?, ?, ?)",
            (self._core.clock.wall_ns(), key.public_key().public_bytes_raw(), sealed),
        )
        return sealed


def _newest(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute("SELECT sealed_private FROM ledger_signing_keys ORDER BY id DESC LIMIT 1").fetchone()
    return row[0] if row else None


def public_keys(connection: sqlite3.Connection) -> list[str]:
    """The public half, hexadecimal, of every key that ever signed here."""
    return [key.hex() for (key,) in connection.execute("SELECT public_key FROM ledger_signing_keys")]


def signature_holds(public_key_hex: str, signature_hex: str, message: bytes) -> bool:
    """Whether an Ed25519 signature holds, written in lower-case hexadecimal; malformed keys and signatures do not."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if signature_hex != signature_hex.lower():
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key_hex))
        key.verify(bytes.fromhex(signature_hex), message)
    except (InvalidSignature, ValueError):
        return False
    return True
