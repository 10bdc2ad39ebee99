"""Tells when a tenant's replica falls behind and when it has caught up: one event for each change."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy import Connection

from control_plane.backups.litestream import LitestreamBackups
from control_plane.store import tenants
from control_plane.store.database import Database
from control_plane.store.record import last_of_kinds, note

LOOK_S = 2.0
LAGGING, CAUGHT_UP = "backup.lagging", "backup.caught_up"
ACTOR = "control_plane"

log = logging.getLogger(__name__)


class LagWatch:
    """Compares every awake tenant's lag with the limit. A replica has caught up when it is less than half of it behind."""

    def __init__(self, database: Database, backups: LitestreamBackups, alarm_s: float) -> None:
        self._database = database
        self._backups = backups
        self._alarm_s = alarm_s
        self._lagging: set[str] | None = None  # as the events say it
        self._control_lags = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:  # the next look tells it
                log.exception("the lag of replicas was not looked at")

    async def look(self) -> None:
        """One look at all of them."""
        self._backups.expect(await self._database.read(tenants.awake))
        if self._lagging is None:
            last = await self._database.read(lambda connection: last_of_kinds(connection, (LAGGING, CAUGHT_UP)))
            self._lagging = {slug for slug, kind in last.items() if kind == LAGGING}
        lag = self._backups.lag()
        behind = {slug for slug, seconds in lag.items() if seconds >= self._alarm_s}
        caught_up = {slug for slug in self._lagging if lag.get(slug, 0.0) < self._alarm_s / 2}
        for slug in sorted(behind - self._lagging):
            await self._tell(slug, LAGGING, f"its replica is {lag[slug]:.0f} s behind")
        for slug in sorted(caught_up):
            await self._tell(slug, CAUGHT_UP, "everything is at its replica again")
        self._lagging = (self._lagging | behind) - caught_up
        self._look_at_control()

    async def _tell(self, slug: str, kind: str, message: str) -> None:
        log.log(logging.WARNING if kind == LAGGING else logging.INFO, "tenant %s: %s", slug, message)

        def write(connection: Connection) -> None:
            note(connection, slug, actor=ACTOR, kind=kind, message=message)

        await self._database.write(write)

    def _look_at_control(self) -> None:
        lags = (self._backups.control_lag() or 0.0) >= self._alarm_s
        if lags and not self._control_lags:
            log.error("the replica of control.db is more than %.0f s behind", self._alarm_s)
        elif self._control_lags and not lags:
            log.info("the replica of control.db has caught up")
        self._control_lags = lags
