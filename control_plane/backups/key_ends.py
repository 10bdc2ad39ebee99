"""When keys ended, written beside the backups: an older copy of the control plane's database must not revive a revoked key.

One small object for each key that was revoked or given an end, named by its SHA-256, at `control/ends/` of the store. A
restored plane reads them all. What the database holds is compared with what is there again and again, so that nothing is
forgotten when the store was away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress

from sqlalchemy import Connection, select

from control_plane.backups.object_store import open_store
from control_plane.domain.key_ends import NEVER, end_of, held_to
from control_plane.reconcile.ports import Unavailable
from control_plane.store.database import Database
from control_plane.store.schema import account_tokens, keys

FOLDER = "control/ends"
LOOK_S = 60.0
NAMED_IN_A_QUERY = 500
RETRY_S = 5.0
WAIT_S = 2.0
"""How long a revocation waits for its record before it is answered all the same; the record follows."""

log = logging.getLogger(__name__)


class KeyEnds:
    """The ends of keys at one store: a directory, S3 or SFTP. Others only Litestream speaks to: `possible` is False."""

    def __init__(self, replica_url: str) -> None:
        self._store = open_store(replica_url)
        self._written: dict[str, float] | None = None
        self._settled = asyncio.Event()
        self.possible = self._store is not None

    async def read(self) -> dict[str, float]:
        """Every end on record: SHA-256 -> seconds since 1970. Raises `Unavailable`."""
        if self._store is None:
            return {}
        found: dict[str, float] = {}
        for stored in await self._store.entries(FOLDER):
            digest = stored.name.rpartition("/")[2]
            if _is_digest(digest):
                found[digest] = _seconds(await self._store.get(stored.name) or b"")
        return found

    async def write(self, digest: str, ends_at: float) -> None:
        """Put one end on record, durably. Raises `Unavailable`."""
        if self._store is None:
            raise Unavailable("this store takes nothing but backups")
        await self._store.put(f"{FOLDER}/{digest}", f"{ends_at:.6f}".encode())

    async def keep(self, database: Database) -> None:
        """Write whatever ends in the database, and was not written yet, for ever."""
        while self.possible:
            seen = database.changed.count
            try:
                if self._written is None:
                    self._written = await self.read()
                await self._write_missing(await self._due(database), self._written)
            except Unavailable as problem:
                log.warning("revocations are not beside the backups: %s", problem)
                await asyncio.sleep(RETRY_S)
                continue
            self._settled.set()
            self._settled = asyncio.Event()
            await database.changed.wait(seen, LOOK_S)

    async def _write_missing(self, ends: Mapping[str, float], written: dict[str, float]) -> None:
        for digest, ends_at in ends.items():
            if written.get(digest) != ends_at:
                await self.write(digest, ends_at)
                written[digest] = ends_at

    async def wait(self, database: Database, timeout_s: float = WAIT_S) -> bool:
        """Whether every end that the database holds now is on record, at the latest after `timeout_s`."""
        if not self.possible:
            return False
        ends = await self._due(database)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._has(ends):
                    await self._settled.wait()
        return self._has(ends)

    async def _due(self, database: Database) -> dict[str, float]:
        """What should be on record now."""
        on_record = self._written or {}
        return await database.read(lambda connection: ends_in(connection, on_record))

    def _has(self, ends: Mapping[str, float]) -> bool:
        written = self._written
        return written is not None and all(written.get(digest) == ends_at for digest, ends_at in ends.items())


def ends_in(connection: Connection, on_record: Collection[str] = ()) -> dict[str, float]:
    """The ends of keys and tokens as the database knows them; NEVER for one that is on record and no longer ends."""
    found: dict[str, float] = {}
    for table in (keys, account_tokens):
        ends = table.c.expires_at.is_not(None) | table.c.revoked_at.is_not(None)
        for row in connection.execute(select(table.c.sha256, table.c.expires_at, table.c.revoked_at).where(ends)):
            found[row.sha256] = end_of(row.expires_at, row.revoked_at)
    others = [digest for digest in on_record if digest not in found]
    for begin in range(0, len(others), NAMED_IN_A_QUERY):
        named = others[begin : begin + NAMED_IN_A_QUERY]
        for table in (keys, account_tokens):
            known = connection.execute(select(table.c.sha256).where(table.c.sha256.in_(named))).scalars()
            found |= dict.fromkeys(known, NEVER)
    return found


def apply_ends(connection: Connection, ends: Mapping[str, float], now: float) -> int:
    """Let every key and token end no later than is on record; how many that changed."""
    changed = 0
    for table in (keys, account_tokens):
        for row in connection.execute(select(table.c.id, table.c.sha256, table.c.expires_at, table.c.revoked_at)).all():
            values = held_to(ends.get(row.sha256, NEVER), row.expires_at, row.revoked_at, now)
            if values:
                connection.execute(table.update().where(table.c.id == row.id).values(**values))
                changed += 1
    return changed


def _seconds(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0  # a torn record is of a key that ended: it stays ended


def _is_digest(name: str) -> bool:
    return len(name) == 64 and all(character in "0123456789abcdef" for character in name)
