"""Litestream and our pacer as a host runs them, to be restored from and killed: `python -m bench.replication DATA URL`.

As a program it is the control plane's share alone: it keeps the tenant `acme` registered and its replica close behind.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from control_plane.backups.litestream import LitestreamBackups
from control_plane.backups.process import litestream_command, litestream_environment
from control_plane.config import Config, load_config
from control_plane.reconcile.ports import Unavailable

SLUG, EPOCH = "acme", 1
DEADLINE_S = 30


def config_of(data: Path, replica_url: str = "") -> Config:
    """The settings of a plane on this data folder, defaults otherwise."""
    config = load_config({"data": str(data)} | ({"replica_url": replica_url} if replica_url else {}), env={})
    config.prepare()
    return config


def database_of(config: Config) -> Path:
    """The tenant's database."""
    return config.tenant_dir(SLUG) / "stockyard.db"


def start_litestream(config: Config, settings: Mapping[str, Any] | None = None) -> subprocess.Popen[bytes]:
    """Litestream as the service starts it, with `settings` laid over its configuration; up when this returns."""
    command = litestream_command(config)
    path = Path(command[-1])
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(settings or {})))
    process = subprocess.Popen(command, env=litestream_environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + DEADLINE_S
    while not _answers(config.litestream_socket):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("litestream did not start")
        time.sleep(0.02)
    return process


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False


async def _keep(config: Config) -> None:
    backups = LitestreamBackups(config)
    await backups.register(SLUG, EPOCH)
    with suppress(Unavailable):
        await backups.sync_wait(SLUG)
    backups.start()
    print("keeps", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_keep(config_of(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")))
