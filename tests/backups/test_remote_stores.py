"""Backups in stores that are reached over the network: S3 (moto) and SFTP."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.backups.key_ends import KeyEnds
from control_plane.backups.litestream import LitestreamBackups
from control_plane.backups.restore_plane import restore_plane
from control_plane.config import Config, load_config
from control_plane.reconcile.ports import RestoreOutcome
from control_plane.store.database import Database
from control_plane.store.tenants import incarnation
from tests.backups.conftest import Litestream
from tests.backups.remote import CREDENTIALS, s3_server, sftp_server, under
from tests.backups.tenant_database import TenantDatabase, entries_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[s3_server, sftp_server], ids=["s3", "sftp"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of the store."""
    with request.param() as url:
        yield url


@pytest.fixture
def config(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setitem(os.environ, name, value)
    data = Path(tempfile.mkdtemp(prefix="sy"))
    config = load_config({"data": str(data), "replica_url": under(store, data.name)}, env={})
    config.prepare()
    yield config
    shutil.rmtree(data)


@pytest.fixture
async def acme(config: Config, backups: LitestreamBackups) -> AsyncIterator[LitestreamBackups]:
    """Backups with one tenant's database of five entries copied."""
    with TenantDatabase(config.tenant_dir("acme") / "stockyard.db") as database:
        database.append(5)
        await backups.register("acme", 1)
        await backups.sync_wait("acme")
        yield backups


async def test_what_was_synced_is_restored_and_verifies(config: Config, acme: LitestreamBackups) -> None:
    restored = await acme.restore("acme", 1, config.data / "copy.db")
    assert restored.outcome is RestoreOutcome.RESTORED
    assert entries_in(config.data / "copy.db") == 5
    assert (await acme.verify("acme", 1)).ok


async def test_an_epoch_without_a_backup_is_nothing(config: Config, acme: LitestreamBackups) -> None:
    assert (await acme.restore("acme", 2, config.data / "copy.db")).outcome is RestoreOutcome.NOTHING


async def test_destroying_a_tenant_removes_its_objects_and_no_others(
    config: Config, acme: LitestreamBackups, litestream: Litestream
) -> None:
    with TenantDatabase(config.tenant_dir("acme-two") / "stockyard.db") as other:
        other.append()
        await acme.register("acme-two", 1)
        await acme.unregister("acme-two")
        await acme.unregister("acme")
        await acme.destroy("acme")
        assert await acme.latest_txid("acme", 1) is None
        assert await acme.latest_txid("acme-two", 1) is not None


async def test_the_ends_of_keys_lie_beside_the_backups(config: Config) -> None:
    ends = KeyEnds(config.replica_url)
    assert ends.possible
    await ends.write("a" * 64, 1_760_000_000.25)
    await ends.write("b" * 64, 2_000_000_000.0)
    assert await KeyEnds(config.replica_url).read() == {"a" * 64: 1_760_000_000.25, "b" * 64: 2_000_000_000.0}


async def test_the_control_planes_own_database_comes_back(
    config: Config, litestream: Litestream, backups: LitestreamBackups
) -> None:
    plane = Database(config.sqlalchemy_url, replicated=True)
    await plane.open()
    await plane.write(incarnation)
    await backups._register_control(1)
    await backups.sync_control()
    await KeyEnds(config.replica_url).write("a" * 64, 1.0)
    await plane.close()
    litestream.kill()
    config.database_file.unlink()
    assert (await restore_plane(config)).incarnation == 2


async def test_the_stores_password_is_in_no_arguments(
    config: Config, acme: LitestreamBackups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may list processes reads arguments."""
    seen: list[str] = []
    start = asyncio.create_subprocess_exec

    async def watched(*arguments: str, **options: Any) -> asyncio.subprocess.Process:
        seen.extend(arguments)
        return await start(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    assert (await acme.restore("acme", 1, config.data / "copy.db")).outcome is RestoreOutcome.RESTORED
    assert "restore" in seen and not [each for each in seen if "://" in each]
