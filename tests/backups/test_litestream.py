"""Backups with the real Litestream and a directory as their store."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvloop

from control_plane.backups.litestream import LitestreamBackups
from control_plane.config import Config, load_config
from control_plane.reconcile.ports import RestoreOutcome, Unavailable
from tests.backups.conftest import Litestream
from tests.backups.tenant_database import TenantDatabase, entries_in

pytestmark = pytest.mark.slow


@pytest.fixture
def database(config: Config) -> TenantDatabase:
    return TenantDatabase(config.tenant_dir("acme") / "stockyard.db")


async def until(holds: Callable[[], Awaitable[bool]], deadline_s: float = 15) -> None:
    """Return once it holds; fail at the deadline."""
    async with asyncio.timeout(deadline_s):
        while not await holds():
            await asyncio.sleep(0.02)


async def test_what_was_synced_is_restored(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append(20)
    await backups.register("acme", 1)
    synced = await backups.sync_wait("acme")
    restored = await backups.restore("acme", 1, config.data / "copy.db")
    assert restored.outcome is RestoreOutcome.RESTORED
    assert restored.txid == synced.txid == await backups.latest_txid("acme", 1)
    assert entries_in(config.data / "copy.db") == 20
    assert [path.name for path in config.data.glob("copy*")] == ["copy.db"]


async def test_registering_twice_is_the_same_as_once(backups: LitestreamBackups, database: TenantDatabase) -> None:
    database.append()
    await backups.register("acme", 1)
    await backups.register("acme", 1)
    assert dict(await backups.registered()) == {"acme": 1}
    await backups.unregister("acme")
    await backups.unregister("acme")
    assert not await backups.registered()


async def test_a_new_control_plane_finds_what_is_registered(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append()
    await backups.register("acme", 3)
    successor = LitestreamBackups(config)
    assert dict(await successor.registered()) == {"acme": 3}
    await successor.close()


async def test_a_database_goes_to_one_epoch_at_a_time(backups: LitestreamBackups, database: TenantDatabase) -> None:
    database.append()
    await backups.register("acme", 1)
    with pytest.raises(Unavailable, match="epoch 1"):
        await backups.register("acme", 2)
    assert dict(await backups.registered()) == {"acme": 1}


async def test_unregistering_syncs_what_was_written_last(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    await backups.register("acme", 1)
    database.append(5)
    await backups.unregister("acme")
    await backups.restore("acme", 1, config.data / "copy.db")
    assert entries_in(config.data / "copy.db") == 5


async def test_after_a_sleep_the_epoch_goes_on(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append(5)
    await backups.register("acme", 1)
    first = await backups.sync_wait("acme")
    await backups.unregister("acme")
    database.append(5)
    await backups.register("acme", 1)
    second = await backups.sync_wait("acme")
    assert second.txid > first.txid
    await backups.restore("acme", 1, config.data / "copy.db")
    assert entries_in(config.data / "copy.db") == 10


async def test_a_second_epoch_begins_its_own_history(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append(4)
    await backups.register("acme", 1)
    await backups.unregister("acme")
    database.append(4)
    await backups.register("acme", 2)
    await backups.sync_wait("acme")
    await backups.restore("acme", 1, config.data / "first.db")
    await backups.restore("acme", 2, config.data / "second.db")
    assert (entries_in(config.data / "first.db"), entries_in(config.data / "second.db")) == (4, 8)
    assert await backups.latest_txid("acme", 2) == 1


async def test_a_lost_volume_is_no_obstacle_to_unregistering(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append(3)
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    shutil.rmtree(config.tenant_dir("acme"))
    await backups.unregister("acme")
    assert not await backups.registered()
    assert (await backups.restore("acme", 1, config.data / "copy.db")).outcome is RestoreOutcome.RESTORED


async def test_a_restore_to_a_time_brings_what_was_there_then(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append(3)
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    then = await _in_a_second_of_its_own(config)
    database.append(3)
    await backups.sync_wait("acme")
    await backups.restore("acme", 1, config.data / "then.db", at=then.isoformat())
    assert entries_in(config.data / "then.db") == 3


async def _in_a_second_of_its_own(config: Config) -> datetime:
    """A moment after all that was copied so far and before all that will be, by the clock that stamps the copies."""
    newest = max(path.stat().st_mtime for path in config.replicas_dir.rglob("*.ltx"))
    moment = datetime.fromtimestamp(newest, UTC) + timedelta(milliseconds=10)

    async def passed() -> bool:
        return datetime.now(UTC) > moment + timedelta(milliseconds=10)

    await until(passed)
    return moment


@pytest.mark.parametrize("later", [timedelta(0), timedelta(hours=1)])
async def test_a_time_after_the_last_change_is_the_newest_state(
    config: Config, backups: LitestreamBackups, database: TenantDatabase, later: timedelta
) -> None:
    database.append(3)
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    at = (datetime.now(UTC) + later).isoformat()
    restored = await backups.restore("acme", 1, config.data / "copy.db", at=at)
    assert restored.outcome is RestoreOutcome.RESTORED, restored.detail
    assert entries_in(config.data / "copy.db") == 3


async def test_a_time_before_the_first_backup_has_none(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append(3)
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    restored = await backups.restore("acme", 1, config.data / "copy.db", at="2020-01-01T00:00:00Z")
    assert restored.outcome is RestoreOutcome.NOTHING
    assert not (config.data / "copy.db").exists()


async def test_an_epoch_without_a_backup_is_nothing(config: Config, backups: LitestreamBackups) -> None:
    restored = await backups.restore("acme", 1, config.data / "copy.db")
    assert restored.outcome is RestoreOutcome.NOTHING


async def test_litestream_killed_loses_nothing(
    config: Config, litestream: Litestream, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append(5)
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    litestream.kill()
    database.append(5)
    with pytest.raises(Unavailable):
        await backups.sync_wait("acme")
    litestream.start()
    assert not await backups.registered()
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    await backups.restore("acme", 1, config.data / "copy.db")
    assert entries_in(config.data / "copy.db") == 10


async def test_changes_are_copied_without_being_asked_for(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append()
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    backups.start()
    database.append(7)

    async def copied() -> bool:
        await backups.restore("acme", 1, config.data / "copy.db")
        return entries_in(config.data / "copy.db") == 8

    await until(copied)


def test_a_backup_is_restored_in_the_event_loop_of_the_service(config: Config, litestream: Litestream) -> None:
    async def work() -> RestoreOutcome:
        backups = LitestreamBackups(config)
        with TenantDatabase(config.tenant_dir("acme") / "stockyard.db") as database:
            database.append(2)
            await backups.register("acme", 1)
            await backups.sync_wait("acme")
            restored = await backups.restore("acme", 1, config.data / "copy.db")
        await backups.close()
        return restored.outcome

    assert uvloop.run(work()) is RestoreOutcome.RESTORED


async def test_a_sound_backup_verifies_with_its_ledger(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append(6)
    await backups.register("acme", 1)
    synced = await backups.sync_wait("acme")
    verified = await backups.verify("acme", 1)
    assert verified.ok, verified.detail
    assert (verified.txid, verified.ledger_seq) == (synced.txid, 6)
    assert verified.ledger_hash == _head(database.path)
    assert not list((config.run_dir / "verify").iterdir())


def _head(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        digest: bytes = connection.execute("SELECT hash FROM ledger ORDER BY seq DESC").fetchone()[0]
        return digest.hex()


async def test_a_corrupted_backup_is_found(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append(6)
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    for copy in (config.replicas_dir / "tenants" / "acme").rglob("*.ltx"):
        content = bytearray(copy.read_bytes())
        content[len(content) // 2] ^= 0xFF
        copy.write_bytes(content)
    assert not (await backups.verify("acme", 1)).ok
    restored = await backups.restore("acme", 1, config.data / "copy.db")
    assert restored.outcome is RestoreOutcome.UNREADABLE
    assert not (config.data / "copy.db").exists()


async def test_a_backup_without_its_beginning_is_not_taken_for_none(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    await backups.register("acme", 1)
    for _ in range(3):
        database.append()
        await backups.sync_wait("acme")
    copies = sorted((config.replicas_dir / "tenants" / "acme").rglob("*.ltx"))
    assert len(copies) > 1
    copies[0].unlink()
    restored = await backups.restore("acme", 1, config.data / "copy.db")
    assert restored.outcome is RestoreOutcome.UNREADABLE, restored.detail


async def test_a_ledger_that_was_changed_does_not_verify(backups: LitestreamBackups, database: TenantDatabase) -> None:
    database.append(6)
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("""UPDATE ledger SET detail = '{"n":7}' WHERE seq = 4""")
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    verified = await backups.verify("acme", 1)
    assert not verified.ok
    assert "ledger entry 4" in verified.detail


async def test_a_store_that_is_away_is_not_taken_for_an_empty_one(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append()
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    away = config.replicas_dir.rename(config.data / "unmounted")
    with pytest.raises(Unavailable):
        await backups.restore("acme", 1, config.data / "copy.db")
    away.rename(config.replicas_dir)


async def test_while_the_store_is_away_nothing_is_said_to_be_copied_so_that_tenants_are_served_without(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append()
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    away = config.replicas_dir.rename(config.data / "unmounted")
    config.replicas_dir.touch()
    with pytest.raises(Unavailable, match="is not there"):
        await backups.registered()
    config.replicas_dir.unlink()
    away.rename(config.replicas_dir)
    assert await backups.registered() == {"acme": 1}


async def test_a_link_in_a_tenants_folder_is_not_copied_for_it(config: Config, backups: LitestreamBackups) -> None:
    with TenantDatabase(config.tenant_dir("victim") / "stockyard.db") as victim:
        victim.append()
        config.tenant_dir("thief").mkdir()
        (config.tenant_dir("thief") / "stockyard.db").symlink_to(victim.path)
        with pytest.raises(Unavailable, match="plain file"):
            await backups.register("thief", 1)


async def test_destroying_a_tenant_removes_every_epoch(
    config: Config, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append()
    await backups.register("acme", 1)
    await backups.unregister("acme")
    await backups.register("acme", 2)
    await backups.unregister("acme")
    await backups.destroy("acme")
    await backups.destroy("acme")
    assert not list((config.replicas_dir / "tenants").iterdir())


async def test_the_control_planes_own_database_is_copied_again_after_litestream_died(
    config: Config, litestream: Litestream, backups: LitestreamBackups
) -> None:
    with TenantDatabase(config.database_file) as control:
        control.append(2)
        backups.replicate_control(1)
        backups.start()

        async def copied() -> bool:
            try:
                await backups.sync_control()
            except Unavailable:
                return False
            return True

        await until(copied)
        litestream.kill()
        control.append(2)
        litestream.start()
        await until(copied)
        verified = await backups.verify_control(1)
        assert (verified.ok, verified.ledger_seq) == (True, 4), verified.detail
        await backups.restore_control(1, config.data / "copy.db")
        assert entries_in(config.data / "copy.db") == 4


def test_an_address_that_no_store_understands_is_refused(config: Config) -> None:
    from control_plane.errors import ConfigError

    with pytest.raises(ConfigError, match="ftp"):
        LitestreamBackups(load_config({"data": str(config.data), "replica_url": "ftp://host/x"}, env={}))
