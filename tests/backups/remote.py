"""Stores on this machine that are reached over the network: moto's S3 and an SFTP server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.backups.sftp_server import PASSWORD, USER

MOTO_SERVER = Path(sys.executable).parent / "moto_server"
DEADLINE_S = 20
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@contextmanager
def s3_server() -> Iterator[str]:
    """The `replica_url` of a bucket in an S3-compatible store, to be completed by `under`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([MOTO_SERVER, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                httpx2.put(f"http://127.0.0.1:{port}/backups").raise_for_status()
                break
            except httpx2.TransportError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        yield f"s3://backups/NAME?endpoint=http://127.0.0.1:{port}&region=us-east-1&force-path-style=true"
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@contextmanager
def sftp_server() -> Iterator[str]:
    """The `replica_url` of a directory behind SFTP, to be completed by `under`."""
    folder = tempfile.mkdtemp(prefix="sftp")
    command = [sys.executable, "-m", "tests.backups.sftp_server", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield f"sftp://{USER}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/copies/NAME"
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        shutil.rmtree(folder)


def under(url: str, name: str) -> str:
    """The address of a place of its own in that store."""
    return url.replace("NAME", name)
