"""What Linux tells of a process, from /proc."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from control_plane.runtimes.protocol import Observed

Holds = Callable[[Observed], bool]


@cache
def boot_id() -> str:
    """Another one after every boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third on (the second may hold spaces and brackets)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return []


def state(pid: int) -> str:
    """One letter: R, S, D run; T, t stopped; Z, X ended; "" if there is no such process."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def start_ticks(pid: int) -> int | None:
    """When it started, in clock ticks since boot."""
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 else None


def reap(pid: int) -> int | None:
    """The exit code of an ended child of this process, as a shell tells it; None for anything else."""
    with suppress(ChildProcessError):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
    return None


def find_by_argument(argument: str) -> int | None:
    """The process that has exactly this argument on its command line."""
    wanted = argument.encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            if wanted in (folder / "cmdline").read_bytes().split(b"\0") and state(int(folder.name)) not in ("Z", "X"):
                return int(folder.name)
    return None
