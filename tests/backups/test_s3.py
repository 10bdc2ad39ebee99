"""Backups in an S3-compatible store: moto's server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from control_plane.backups.key_ends import KeyEnds
from control_plane.backups.litestream import LitestreamBackups
from control_plane.config import Config, load_config
from control_plane.reconcile.ports import RestoreOutcome
from tests.backups.conftest import DEADLINE_S, Litestream
from tests.backups.tenant_database import TenantDatabase, entries_in

pytestmark = pytest.mark.slow

MOTO_SERVER = Path(sys.executable).parent / "moto_server"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Address of an S3-compatible store with a bucket named `backups`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([MOTO_SERVER, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            httpx2.put(f"http://127.0.0.1:{port}/backups").raise_for_status()
            break
        except httpx2.TransportError:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(DEADLINE_S)


@pytest.fixture
def config(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    monkeypatch.setitem(os.environ, "AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setitem(os.environ, "AWS_SECRET_ACCESS_KEY", "secret")
    data = Path(tempfile.mkdtemp(prefix="sy"))
    url = f"s3://backups/{data.name}?endpoint={store}&region=us-east-1&force-path-style=true"
    config = load_config({"data": str(data), "replica_url": url}, env={})
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
    ends.write("a" * 64, 1_760_000_000.25)
    ends.write("b" * 64, 2_000_000_000.0)
    assert KeyEnds(config.replica_url).read() == {"a" * 64: 1_760_000_000.25, "b" * 64: 2_000_000_000.0}
