from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from control_plane.backups.litestream import LitestreamBackups
from control_plane.backups.process import litestream_command, litestream_environment
from control_plane.config import Config, load_config
from control_plane.domain.plans import FREE
from control_plane.store import accounts, tenants

DEADLINE_S = 20


class Litestream:
    """The real Litestream as a process that a test may kill and start again."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.settings: dict[str, object] = {}  # laid over those that the service starts it with
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._config.litestream_socket.unlink(missing_ok=True)
        command = litestream_command(self._config)
        path = Path(command[-1])
        path.write_text(json.dumps(json.loads(path.read_text()) | self.settings))
        self._process = subprocess.Popen(command, env=litestream_environment(), stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while not _answers(self._config.litestream_socket):
            assert self._process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(DEADLINE_S)
            self._process = None


def add_acme(connection: Connection) -> None:
    """A tenant `acme` of the plan that keeps one day."""
    owner = accounts.operator_account(connection)
    new = tenants.NewTenant("acme", owner.id, FREE, "local", "image", b"", None)
    tenants.create(connection, new, actor="operator")


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


@pytest.fixture
def config() -> Iterator[Config]:
    data = Path(tempfile.mkdtemp(prefix="sy"))
    config = load_config({"data": str(data)}, env={})
    config.prepare()
    yield config
    shutil.rmtree(data)


@pytest.fixture
def litestream(config: Config) -> Iterator[Litestream]:
    running = Litestream(config)
    running.start()
    yield running
    running.kill(signal.SIGTERM)


@pytest.fixture
async def backups(config: Config, litestream: Litestream) -> AsyncIterator[LitestreamBackups]:
    backups = LitestreamBackups(config)
    yield backups
    await backups.close()
