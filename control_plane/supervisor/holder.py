"""Who supervises a data folder: one process at a time, and what a killed one left behind."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

GRACE_S = 5.0
POLL_S = 0.02


class InUse(Exception):
    """Another `stockyard-cloud up` runs on this data folder."""


class DataFolder:
    """Holds the lock of a data folder until the process ends, and keeps the list of its children there."""

    def __init__(self, run_dir: Path) -> None:
        self._children = run_dir / "up.json"
        self._lock: TextIO = open(run_dir / "up.lock", "a+", encoding="ascii")  # noqa: SIM115 - held until the end
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            pid = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise InUse(f"`stockyard-cloud up` runs already on {run_dir.parent} (process {pid})") from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def note(self, pids: Mapping[str, int]) -> None:
        """Remember these children, so that they are found again should this process be killed."""
        noted = {name: [pid, started] for name, pid in pids.items() if (started := start_time(pid)) is not None}
        making = self._children.with_suffix(".making")
        making.write_text(json.dumps(noted), encoding="ascii")
        making.replace(self._children)

    def end_leftovers(self) -> list[str]:
        """End the children of a supervisor that was killed; their names."""
        left = {name: pid for name, (pid, started) in self._noted().items() if start_time(pid) == started}
        for pid in left.values():
            _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and any(start_time(pid) is not None for pid in left.values()):
            time.sleep(POLL_S)
        for pid in left.values():
            _signal(pid, signal.SIGKILL)
        self._children.unlink(missing_ok=True)
        return sorted(left)

    def release(self) -> None:
        """Let another process have the folder."""
        self._children.unlink(missing_ok=True)
        self._lock.truncate(0)
        self._lock.close()

    def _noted(self) -> dict[str, tuple[int, int]]:
        with suppress(FileNotFoundError, ValueError):
            found: dict[str, tuple[int, int]] = json.loads(self._children.read_text(encoding="ascii"))
            return found
        return {}


def start_time(pid: int) -> int | None:
    """When the process started, in ticks since boot: with its pid, its identity. None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(fields[18])


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
