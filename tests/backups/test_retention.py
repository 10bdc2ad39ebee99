"""What is older than a plan keeps is gone from the store, and everything later is still restored, with the real Litestream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from control_plane import ledger
from control_plane.backups.keeper import RetentionKeeper
from control_plane.backups.litestream import LitestreamBackups
from control_plane.config import Config
from control_plane.domain.plans import FREE
from control_plane.domain.retention import DAY_S
from control_plane.reconcile.ports import RestoreOutcome, Unavailable
from control_plane.store import epochs
from control_plane.store.database import Database
from control_plane.store.record import events_of
from control_plane.store.schema import epochs as table
from control_plane.store.schema import tenants as tenants_table
from tests.backups.conftest import Litestream, add_acme
from tests.backups.tenant_database import TenantDatabase, entries_in

pytestmark = pytest.mark.slow


SHORT = {
    "snapshot": {"interval": "1s", "retention": "1h"},
    "levels": [{"interval": "1s"}, {"interval": "2s"}],
    "l0-retention": "1s",
    "l0-retention-check-interval": "1s",
}


@pytest.fixture
def litestream(config: Config) -> Iterator[Litestream]:
    """A snapshot a second, so that a few seconds are what weeks are in production."""
    running = Litestream(config)
    running.settings = SHORT
    running.start()
    yield running
    running.kill()


@pytest.fixture
async def plane(config: Config) -> AsyncIterator[Database]:
    """The plane's database with a tenant `acme` of the plan that keeps one day."""
    database = Database(config.sqlalchemy_url)
    await database.open()

    await database.write(add_acme)
    yield database
    await database.close()


def snapshots(config: Config, epoch: int = 1) -> list[Path]:
    folder = config.replicas_dir / "tenants" / "acme" / f"{epoch:08d}" / "ltx" / "9"
    return sorted(folder.glob("*.ltx"))


async def written(config: Config, backups: LitestreamBackups, database: TenantDatabase, more_than: int) -> datetime:
    """Append until there is a snapshot more; a moment after all of that and before all that follows."""
    async with asyncio.timeout(20):
        while len(snapshots(config)) <= more_than:
            database.append()
            await backups.sync_wait("acme")
            await asyncio.sleep(0.1)
    database.append()
    await backups.sync_wait("acme")
    await asyncio.sleep(1.1)  # Litestream lists times in whole seconds
    return datetime.now(UTC)


async def test_older_copies_are_gone_from_the_store_and_every_later_time_is_still_restored(
    config: Config, backups: LitestreamBackups
) -> None:
    copy = config.data / "copy.db"
    with TenantDatabase(config.tenant_dir("acme") / "stockyard.db") as database:
        database.append(3)
        await backups.register("acme", 1)
        early = await written(config, backups, database, more_than=1)
        begin = await written(config, backups, database, more_than=len(snapshots(config)) + 1)
        then = entries_in(database.path)
        oldest = snapshots(config)[0]
        late = await written(config, backups, database, more_than=len(snapshots(config)))

        reaches = await backups.prune("acme", 1, begin.timestamp())

        assert reaches is not None and early.timestamp() < reaches <= begin.timestamp()
        assert not oldest.exists()
        assert (await backups.restore("acme", 1, copy, at=early.isoformat())).outcome is RestoreOutcome.NOTHING
        assert (await backups.restore("acme", 1, copy, at=begin.isoformat())).outcome is RestoreOutcome.RESTORED
        assert entries_in(copy) == then
        # Litestream goes on from there: later snapshots and pieces fit to what was kept.
        await written(config, backups, database, more_than=len(snapshots(config)) + 1)
        for at, count in ((begin, then), (late, None), (None, entries_in(database.path))):
            found = await backups.restore("acme", 1, copy, at=at.isoformat() if at else None)
            assert found.outcome is RestoreOutcome.RESTORED, found.detail
            assert count is None or entries_in(copy) == count
        assert (await backups.verify("acme", 1)).ok


async def age(plane: Database, n: int, days: float, *, verified: bool = True) -> None:
    """Let the epoch have been confirmed so long ago, and closed if it is not the tenant's."""

    def work(connection: Connection) -> None:
        at = time.time() - days * DAY_S
        known = {"confirmed_at": at, "confirmed_txid": 1, "verified_at": at if verified else None}
        connection.execute(update(table).where(table.c.n == n).values(started_at=at, **known))
        connection.execute(update(table).where(table.c.n == n, table.c.closed_at.is_not(None)).values(closed_at=at))

    await plane.write(work)


async def two_lives(config: Config, plane: Database, backups: LitestreamBackups) -> None:
    """Two epochs with a backup each; the second is the tenant's."""
    with TenantDatabase(config.tenant_dir("acme") / "stockyard.db") as database:
        for n in (1, 2):
            parent = n - 1 or None
            await plane.write(lambda connection, parent=parent: epochs.open_next(connection, "acme", parent, None))
            database.append()
            await backups.register("acme", n)
            await backups.unregister("acme")


async def test_a_closed_life_older_than_the_plan_keeps_is_removed_and_said_so(
    config: Config, plane: Database, backups: LitestreamBackups
) -> None:
    await two_lives(config, plane, backups)
    await age(plane, 1, days=5)
    await age(plane, 2, days=4)

    await RetentionKeeper(plane, backups, lambda name: FREE).one_pass()

    assert [path.name for path in (config.replicas_dir / "tenants" / "acme").iterdir()] == ["00000002"]
    lives = await plane.read(lambda connection: epochs.of(connection, "acme"))
    assert [life.expired_at is not None for life in lives] == [True, False]
    events, _ = await plane.read(lambda connection: events_of(connection, "acme", limit=1))
    assert (events[0]["kind"], events[0]["detail"]) == ("backup.expired", {"epoch": 1})
    entries, _ = await plane.read(lambda connection: ledger.page(connection, limit=1, offset=0))
    assert entries[0]["action"] == "backup.expired"


@pytest.mark.parametrize(("days", "verified", "asked"), [(0.5, True, False), (4, False, False), (4, True, True)])
async def test_it_stays_while_it_is_young_or_the_newer_one_is_unverified_or_a_restore_is_asked_for(
    config: Config, plane: Database, backups: LitestreamBackups, days: float, verified: bool, asked: bool
) -> None:
    await two_lives(config, plane, backups)
    await age(plane, 1, days=days + 1)
    await age(plane, 2, days=days, verified=verified)
    if asked:
        request = {"at": None, "epoch": 1, "source": "", "requested_at": time.time()}
        await plane.write(lambda connection: connection.execute(update(tenants_table).values(restore=request)))

    await RetentionKeeper(plane, backups, lambda name: FREE).one_pass()

    assert (config.replicas_dir / "tenants" / "acme" / "00000001").is_dir()


async def test_a_replica_that_is_being_written_is_never_removed(config: Config, backups: LitestreamBackups) -> None:
    with TenantDatabase(config.tenant_dir("acme") / "stockyard.db") as database:
        database.append()
        await backups.register("acme", 1)
        await backups.sync_wait("acme")
        with pytest.raises(Unavailable, match="being copied"):
            await backups.expire("acme", 1)
        assert await backups.latest_txid("acme", 1) is not None
