"""Seals: entries that hold the signed head of the ledger, so that a rewrite of the whole chain shows too."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from instance.brand.chain import signed_message
from instance.brand.ledger import head
from instance.brand.signing import signature_holds
from instance.core.writer import LedgerEvent

if TYPE_CHECKING:
    from instance.brand.signing import Signer
    from instance.core.core import Core

SEAL = "seal"


class Seal(NamedTuple):
    """The signed head: what a copy kept elsewhere proves."""

    seq: int
    hash: str
    signature: str
    public_key: str


class Seals:
    """Appends seals. What a seal signs is the entry right before it."""

    def __init__(self, core: Core, signer: Signer) -> None:
        self._core = core
        self._signer = signer

    async def seal(self) -> Seal | None:
        """Append a seal over the head; `None` when the ledger is empty or its newest entry is a seal already."""
        await self._signer.ready()
        events: list[LedgerEvent] = []

        def append(connection: sqlite3.Connection) -> Seal | None:
            seq, own_hash = head(connection)
            if not seq or newest_seal(connection) == seq:
                return None
            made = Seal(
                seq, own_hash.hex(), self._signer.sign_head(seq, own_hash.hex()), public_key=self._signer.public_key
            )
            events.append(LedgerEvent(SEAL, "system", f"ledger:{seq}", SEAL, made._asdict()))
            return made

        return await self._core.writer.write(append, events)

    async def last_seq(self) -> int:
        """The `seq` of the newest seal; 0 without one."""
        return await self._core.database.read(newest_seal)


def newest_seal(connection: sqlite3.Connection) -> int:
    """The `seq` of the newest seal; 0 without one."""
    row = connection.execute(
        "SELECT max(seq) FROM ledger WHERE event_type = ? AND event_type <> 'proxy_request'", (SEAL,)
    ).fetchone()
    return row[0] or 0


def seal_fault(entry: Mapping[str, Any], keys: frozenset[str]) -> tuple[str, str] | None:
    """What a seal should say and what it says, when it does not fit the entry before it or no key of ours signed it."""
    said = orjson.loads(entry["detail"]) if isinstance(entry["detail"], str) else entry["detail"]
    expected = {"seq": entry["seq"] - 1, "hash": entry["prev_hash"]}
    found = {name: said.get(name) for name in expected}
    if found != expected:
        return f"a seal over {expected['seq']} {expected['hash']}", f"a seal over {found['seq']} {found['hash']}"
    key = str(said.get("public_key"))
    if key not in keys or not signature_holds(
        key, str(said.get("signature")), signed_message(expected["seq"], expected["hash"])
    ):
        return "a seal as it was signed", "a seal that this instance's key did not sign"
    return None
