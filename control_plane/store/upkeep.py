"""Keeps what grows by itself within its bounds: tenants' events."""

from __future__ import annotations

import asyncio
import logging
import time

from control_plane.config import Config
from control_plane.store.database import Database
from control_plane.store.record import prune_events

EVERY_S = 600.0
AT_ONCE = 5_000  # rows in one transaction, so that no other write waits long
log = logging.getLogger(__name__)


async def keep_bounded(database: Database, config: Config) -> None:
    """Prune every few minutes, for ever."""
    while True:
        removed = await prune(database, config, time.time())
        if removed:
            log.info("%d events were older or more than are kept", removed)
        await asyncio.sleep(EVERY_S)


async def prune(database: Database, config: Config, now: float) -> int:
    """Remove all events beyond the bounds; how many those were."""
    before, removed = now - config.events_days * 86_400.0, 0
    while True:
        some = await database.write(
            lambda connection: prune_events(
                connection, before=before, per_tenant=config.events_per_tenant, most=AT_ONCE
            )
        )
        removed += some
        if not some:
            return removed
