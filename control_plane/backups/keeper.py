"""Keeps every tenant's backups as long as its plan says, and no longer: removes what is older from the store, for ever."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from control_plane.backups.litestream import LitestreamBackups
from control_plane.domain.plans import Plan
from control_plane.domain.retention import DAY_S, expired
from control_plane.domain.tenants import Epoch, Tenant
from control_plane.reconcile.ports import Unavailable
from control_plane.store import epochs, tenants
from control_plane.store.database import Database

LOOK_S = 900.0
PRUNE_EVERY_S = 6 * 3_600.0
"""Between two looks at the files of one replica; each is a list request or a few."""

log = logging.getLogger(__name__)


class RetentionKeeper:
    """Works through all tenants again and again. What it removes first and records then is removed again after a crash."""

    def __init__(self, database: Database, backups: LitestreamBackups, plan: Callable[[str], Plan]) -> None:
        self._database = database
        self._backups = backups
        self._plan = plan
        self._pruned: dict[tuple[str, int], float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.one_pass()
            except Exception:  # what is too old can wait; the next pass decides from what it sees then
                log.exception("old backups were not looked through to the end")

    async def one_pass(self) -> None:
        """Look at every tenant once; one whose store does not go along is tried at the next pass."""
        everybody = await self._database.read(tenants.every)
        read = {each.restore.source or each.slug for each in everybody if each.restore is not None}
        for tenant in everybody:
            if tenant.slug in read:
                continue  # a restore reads its backups now, or is about to
            try:
                await self._keep(tenant)
            except Unavailable as problem:
                log.warning("tenant %s: old backups are not removed: %s", tenant.slug, problem)

    async def _keep(self, tenant: Tenant) -> None:
        slug, days, now = tenant.slug, self._plan(tenant.plan).backup_days, time.time()
        lives = await self._database.read(lambda connection: epochs.of(connection, slug))
        gone = expired(lives, now, days)
        for n in gone:
            await self._backups.expire(slug, n)
            await self._database.write(_expiring(slug, n))
        await self._prune(slug, [each for each in lives if each.expired_at is None and each.n not in gone], now, days)

    async def _prune(self, slug: str, lives: Sequence[Epoch], now: float, days: int) -> None:
        for life in lives:
            last = self._pruned.get((slug, life.n))
            if life.confirmed_at is None or (last is not None and now - last < PRUNE_EVERY_S):
                continue
            reaches = await self._backups.prune(slug, life.n, now - days * DAY_S)
            self._pruned[slug, life.n] = now
            if reaches is not None and reaches > (life.reaches_back_to or life.started_at):
                await self._database.write(_reaching(slug, life.n, reaches))


def _expiring(slug: str, n: int) -> Callable[[Connection], None]:
    return lambda connection: epochs.expire(connection, slug, n)


def _reaching(slug: str, n: int, to: float) -> Callable[[Connection], None]:
    return lambda connection: epochs.reach_back(connection, slug, n, to)
