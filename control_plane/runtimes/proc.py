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


STAT_MOST_BYTES = 4096


def status(pid: int) -> tuple[str, int | None]:
    """Its state and when it started, in clock ticks since boot; ("", None) if there is no such process.

    The state is one letter: R, S, D run; T, t stopped; Z, X ended.
    """
    try:
        handle = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "", None
    try:
        fields = (
            os.read(handle, STAT_MOST_BYTES).rpartition(b")")[2].split()
        )  # the name before may hold spaces and brackets
    except OSError:  # it ended in between
        return "", None
    finally:
        os.close(handle)
    return (fields[0].decode("ascii"), int(fields[19])) if len(fields) > 19 else ("", None)


def state(pid: int) -> str:
    """Its state alone; "" if there is no such process."""
    return status(pid)[0]


def start_ticks(pid: int) -> int | None:
    """When it started, in clock ticks since boot."""
    return status(pid)[1]


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
