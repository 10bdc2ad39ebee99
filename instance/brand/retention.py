"""Retention of the ledger: old entries go as one prefix, and a signed anchor says where the chain begins now."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import orjson

from instance.brand import store
from instance.brand.chain import anchor_message
from instance.core.writer import LedgerEvent

if TYPE_CHECKING:
    from instance.brand.signing import Signer
    from instance.core.core import Core

ANCHOR = "anchor"
SLICE_ENTRIES = 500
LOOKED_AT_ENTRIES = 5000


class Anchor(NamedTuple):
    """Where the chain begins after old entries were removed: `last_hash` (hexadecimal) is that of entry `to_seq`."""

    seq: int
    to_seq: int
    last_hash: str
    signature: str


class Retention:
    """Removes what is older than it may be. The anchor is written first, so that the chain verifies at every moment."""

    def __init__(self, core: Core, signer: Signer) -> None:
        self._core = core
        self._signer = signer

    async def prune(self, before: str) -> int:
        """Remove the entries from the oldest up to the first that is not older than `before` (RFC 3339); how many."""
        read, write = self._core.database.read, self._core.writer.write
        first, _ = await read(store.bounds)
        last = 0
        while True:
            found, more = await read(partial(_older, max(last, first - 1), before))
            last = found or last
            if not more:
                break
        if not last:
            return 0
        await self._signer.ready()
        events: list[LedgerEvent] = []

        def anchor(connection: sqlite3.Connection) -> None:
            row = store.one(connection, last)
            assert row is not None
            last_hash = row[-1].hex()
            detail = {
                "from_seq": first,
                "to_seq": last,
                "count": last - first + 1,
                "last_hash": last_hash,
                "signature": self._signer.sign(anchor_message(last, last_hash)),
            }
            events.append(LedgerEvent(ANCHOR, "system", f"ledger:{first}-{last}", "prune", detail))

        await write(anchor, events)
        return await self.remove_anchored()

    async def remove_anchored(self) -> int:
        """Remove what lies before the newest anchor; how many entries."""
        removed = 0
        while True:
            count = await self._core.writer.write(_remove_some)
            removed += count
            if count < SLICE_ENTRIES:
                return removed


def newest_anchor(connection: sqlite3.Connection) -> Anchor | None:
    """The anchor that holds now; `None` when nothing was ever removed."""
    row = connection.execute(
        "SELECT seq, detail FROM ledger WHERE event_type = ? AND event_type <> 'proxy_request' ORDER BY seq DESC LIMIT 1",
        (ANCHOR,),
    ).fetchone()
    if row is None:
        return None
    detail = orjson.loads(row[1])
    return Anchor(row[0], int(detail["to_seq"]), str(detail["last_hash"]), str(detail["signature"]))


def _older(after: int, before: str, connection: sqlite3.Connection) -> tuple[int, bool]:
    """The last of the next entries that are all older, and whether more may follow; the newest entry always stays."""
    rows = connection.execute(
        "SELECT seq, created_at FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?", (after, LOOKED_AT_ENTRIES + 1)
    ).fetchall()
    last = 0
    for seq, created_at in rows[:-1]:
        if created_at >= before:
            return last, False
        last = seq
    return last, len(rows) > LOOKED_AT_ENTRIES


def _remove_some(connection: sqlite3.Connection) -> int:
    anchor = newest_anchor(connection)
    if anchor is None:
        return 0
    return connection.execute(
        "DELETE FROM ledger WHERE seq IN (SELECT seq FROM ledger WHERE seq <= ? ORDER BY seq LIMIT ?)",
        (anchor.to_seq, SLICE_ENTRIES),
    ).rowcount
