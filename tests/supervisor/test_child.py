"""A process of the service: started again when it dies, ended when asked."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from control_plane.supervisor.child import Child
from control_plane.supervisor.holder import start_time

PATIENT = "import time; print('here', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"
)


def child(tmp_path: Path, program: str, *, grace_s: float = 10) -> Child:
    log = tmp_path / "child.log"

    async def has_spoken() -> bool:
        return log.exists() and "here" in log.read_text()

    return Child(
        "test",
        lambda: [sys.executable, "-c", program],
        os.environ,
        log,
        is_ready=has_spoken,
        changed=lambda: None,
        grace_s=grace_s,
    )


async def test_a_child_that_is_killed_is_started_again(tmp_path: Path) -> None:
    running = child(tmp_path, PATIENT)
    await running.start()
    first = running.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(10):
        while running.pid in (first, None):
            await asyncio.sleep(0.01)
    assert running.starts == 2
    await running.stop()


async def test_a_stopped_child_stays_so(tmp_path: Path) -> None:
    running = child(tmp_path, PATIENT)
    await running.start()
    pid = running.pid
    assert pid is not None
    await running.stop()
    assert running.pid is None
    assert start_time(pid) is None
    await running.stop()


async def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    running = child(tmp_path, STUBBORN, grace_s=0.2)
    await running.start()
    await running.ready(10)
    pid = running.pid
    assert pid is not None
    await running.stop()
    assert start_time(pid) is None


async def test_a_child_that_never_gets_ready_is_reported_with_its_last_words(tmp_path: Path) -> None:
    running = child(tmp_path, "raise SystemExit('no such luck')")
    await running.start()
    async with asyncio.timeout(10):
        while "luck" not in running.log_tail():
            await asyncio.sleep(0.01)
    with pytest.raises(TimeoutError, match="no such luck"):
        await running.ready(0.05)
    await running.stop()
