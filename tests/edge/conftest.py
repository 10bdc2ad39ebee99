from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.config import Config, load_config
from control_plane.routing.caddy import caddy_command, caddy_environment


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def config() -> Iterator[Config]:
    """A data folder whose name leaves room for socket paths (107 bytes), and ports that are free."""
    data = Path(tempfile.mkdtemp(prefix="sy"))
    flags = {
        "data": str(data),
        "plans": {},
        "edge_listen": f"127.0.0.1:{free_port()}",
        "listen": f"127.0.0.1:{free_port()}",
    }
    config = load_config(flags, env={})
    config.prepare()
    yield config
    shutil.rmtree(data)


@pytest.fixture(scope="module")
def edge_url(config: Config) -> Iterator[str]:
    """A running Caddy with the real configuration; where it listens."""
    process = subprocess.Popen(caddy_command(), env=dict(caddy_environment(config)), stderr=subprocess.PIPE)
    host, _, port = config.edge_listen.rpartition(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            break
        except OSError:
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    yield f"http://{config.edge_listen}"
    process.terminate()
    process.wait(10)
    if process.stderr:
        process.stderr.close()
