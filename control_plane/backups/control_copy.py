"""The scheduled proof that the control plane's own database can be restored, and when it was last given."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from control_plane.backups.litestream import LitestreamBackups
from control_plane.reconcile.ports import Unavailable, VerifyResult
from control_plane.store.database import Database
from control_plane.store.record import record
from control_plane.store.schema import meta

FIRST_S = 600.0  # after the first start
EVERY_S = 86_400.0
RETRY_S = 3_600.0
LOOK_S = 60.0
VERIFIED, BROKEN = "backup_verified_at", "backup_broken_at"

log = logging.getLogger(__name__)


class Proof(NamedTuple):
    """When the copy last was restored elsewhere and sound, and when it last was not (None once it was again)."""

    verified_at: float | None
    broken_at: float | None


class ControlCopy:
    """Restores the newest copy elsewhere once a day and checks every page and ledger entry; the outcome is in the database."""

    def __init__(self, database: Database, backups: LitestreamBackups, incarnation: int) -> None:
        self._database = database
        self._backups = backups
        self._incarnation = incarnation

    async def run(self) -> None:
        """Until cancelled."""
        begun, tried = time.time(), 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            known, now = await self._database.read(proof), time.time()
            due = begun + FIRST_S if known.verified_at is None else known.verified_at + EVERY_S
            if now >= due and now - tried >= RETRY_S:
                tried = now
                await self.verify()

    async def verify(self) -> VerifyResult | None:
        """Now; None when the store is not reached, which proves nothing."""
        try:
            found = await self._backups.verify_control(self._incarnation)
        except Unavailable as problem:
            log.error("the copy of control.db was not verified: %s", problem)
            return None
        await self._database.write(lambda connection: _note(connection, found))
        level = logging.INFO if found.ok else logging.ERROR
        log.log(level, "backup of control.db: %s", "sound" if found.ok else found.detail)
        return found


def proof(connection: Connection) -> Proof:
    """What is known of the copy of this database."""
    wanted = meta.c.name.in_((VERIFIED, BROKEN))
    known = {row.name: float(row.value) for row in connection.execute(select(meta).where(wanted))}
    return Proof(known.get(VERIFIED), known.get(BROKEN))


def forget(connection: Connection) -> None:
    """Nothing is known of the copy of a database that was restored: it begins a place of its own."""
    connection.execute(delete(meta).where(meta.c.name.in_((VERIFIED, BROKEN))))


def _note(connection: Connection, found: VerifyResult) -> None:
    gone = (VERIFIED, BROKEN) if found.ok else (BROKEN,)
    connection.execute(delete(meta).where(meta.c.name.in_(gone)))
    connection.execute(insert(meta).values(name=VERIFIED if found.ok else BROKEN, value=f"{time.time():.3f}"))
    record(
        connection,
        actor="control_plane",
        action="backup.verified" if found.ok else "backup.broken",
        message="",
        resource="control_plane",
        detail={"txid": found.txid, "ledger_seq": found.ledger_seq, "detail": found.detail},
    )
