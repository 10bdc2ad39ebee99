"""What the operating system knows of this process, from /proc."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_DESCRIPTORS = Path("/proc/self/fd")
KIB = 1024
_started_at_s = time.time()


def _begin() -> None:
    """A fork is a process of its own."""
    global _started_at_s
    _started_at_s = time.time()


os.register_at_fork(after_in_child=_begin)


def started_at_s() -> float:
    """When this process began, in seconds since 1970."""
    return _started_at_s


def memory_bytes() -> tuple[int, int]:
    """Resident memory now and at its peak; zeros where there is no /proc."""
    found = {"VmRSS": 0, "VmHWM": 0}
    try:
        for line in _STATUS.read_text().splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) * KIB
    except OSError:
        pass
    return found["VmRSS"], found["VmHWM"]


def open_descriptors() -> int:
    """How many file descriptors are open; 0 where there is no /proc."""
    try:
        return sum(1 for _ in _DESCRIPTORS.iterdir())
    except OSError:
        return 0


def described() -> dict[str, Any]:
    """Memory and threads, as `/api/status` shows them."""
    resident, peak = memory_bytes()
    memory = {"rss_mb": round(resident / KIB**2, 1), "peak_mb": round(peak / KIB**2, 1)}
    return {"memory": memory, "threads": threading.active_count()}


def free_bytes(folder: Path) -> int:
    """Bytes free for this user on the folder's file system."""
    known = os.statvfs(folder)
    return known.f_bavail * known.f_frsize
