"""How far replicas are behind, and that it is told once when they fall behind and once when they have caught up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import update

from control_plane.backups.control_socket import ControlSocket
from control_plane.backups.lag_watch import LagWatch
from control_plane.backups.litestream import LitestreamBackups
from control_plane.backups.pace import Pacer
from control_plane.config import Config
from control_plane.store.database import Database
from control_plane.store.record import events_of
from control_plane.store.schema import tenants as tenants_table
from tests.backups.conftest import Litestream, add_acme
from tests.backups.tenant_database import TenantDatabase

ALARM_S = 0.4


@pytest.fixture
async def plane(config: Config) -> AsyncIterator[Database]:
    """The plane's database with a tenant `acme` that runs."""
    database = Database(config.sqlalchemy_url)
    await database.open()

    await database.write(add_acme)
    await database.write(lambda connection: connection.execute(update(tenants_table).values(status="running")))
    yield database
    await database.close()


async def told(plane: Database) -> list[str]:
    """The kinds of what was told of backups, oldest first."""
    events, _ = await plane.read(lambda connection: events_of(connection, "acme", limit=50))
    return [each["kind"] for each in reversed(events) if each["kind"].startswith("backup.")]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():
            await asyncio.sleep(0.02)


async def watch_until(watch: LagWatch, plane: Database, kinds: list[str]) -> None:
    """Look again and again until so much was told, and a few times more."""
    async with asyncio.timeout(15):
        while await told(plane) != kinds:
            await watch.look()
            await asyncio.sleep(0.05)
    for _ in range(3):
        await watch.look()
    assert await told(plane) == kinds


async def settled(backups: LitestreamBackups) -> None:
    """Sync until nothing is left; Litestream writes a page of its own at its first."""
    async with asyncio.timeout(15):
        while backups.lag_of("acme") != 0.0 or await backups.latest_txid("acme", 1) is None:
            await backups.sync_wait("acme")


@pytest.fixture
def database(config: Config) -> TenantDatabase:
    return TenantDatabase(config.tenant_dir("acme") / "stockyard.db")


@pytest.mark.slow
async def test_everything_at_the_replica_is_no_lag_however_long_ago_it_was_confirmed(
    backups: LitestreamBackups, database: TenantDatabase
) -> None:
    database.append()
    await backups.register("acme", 1)
    await settled(backups)
    assert dict(backups.lag()) == {"acme": 0.0}
    database.append()
    assert backups.lag_of("acme") is not None
    first = backups.lag()["acme"]
    await until(lambda: backups.lag()["acme"] > first)
    await settled(backups)
    await backups.unregister("acme")
    assert dict(backups.lag()) == {}


@pytest.mark.slow
async def test_a_store_that_takes_nothing_is_told_once_and_so_is_its_return(
    config: Config, plane: Database, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    watch = LagWatch(plane, backups, ALARM_S)
    database.append()
    await backups.register("acme", 1)
    await backups.sync_wait("acme")
    backups.start()
    store = config.replicas_dir
    away = store.rename(config.data / "away")
    store.write_text("no directory any more")

    database.append()
    await watch_until(watch, plane, ["backup.lagging"])
    store.unlink()
    away.rename(store)
    await watch_until(watch, plane, ["backup.lagging", "backup.caught_up"])


@pytest.mark.slow
async def test_litestream_that_is_gone_is_told_also_by_a_plane_that_never_saw_it(
    config: Config, plane: Database, litestream: Litestream, backups: LitestreamBackups, database: TenantDatabase
) -> None:
    litestream.kill()
    database.append()
    await watch_until(LagWatch(plane, backups, ALARM_S), plane, ["backup.lagging"])
    successor = LagWatch(plane, backups, ALARM_S)
    await watch_until(successor, plane, ["backup.lagging"])
    litestream.start()
    await backups.register("acme", 1)
    backups.start()
    await watch_until(successor, plane, ["backup.lagging", "backup.caught_up"])


class OneHangs:
    """A control socket to a Litestream that never answers for one database."""

    def __init__(self) -> None:
        self.synced: list[str] = []

    async def sync(self, database: Path, timeout_s: int = 30) -> int:
        if database.parent.name == "stuck":
            await asyncio.Event().wait()
        self.synced.append(database.parent.name)
        return 1


async def test_one_database_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    paths: dict[str, Path] = {}
    for name in ("stuck", "quick"):
        paths[name] = tmp_path / name / "stockyard.db"
        paths[name].parent.mkdir()
        Path(f"{paths[name]}-wal").write_bytes(b"x")
    control: Any = OneHangs()
    pacer = Pacer(cast(ControlSocket, control), 0.01, lambda: paths)
    running = asyncio.create_task(pacer.run())
    await until(lambda: control.synced == ["quick"])
    Path(f"{paths['quick']}-wal").write_bytes(b"xy")
    await until(lambda: control.synced == ["quick", "quick"])
    await until(lambda: pacer.lag_s("stuck", paths["stuck"]) >= 0.1)
    assert pacer.lag_s("quick", paths["quick"]) == 0.0
    running.cancel()
