"""How much memory this process may still take: the limit of its container, and what is used of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from instance.core.errors import StockyardError

CGROUPS = Path("/sys/fs/cgroup")
MB = 1_000_000
UNLIMITED = 1 << 50
"""Bytes; cgroup v1 says "no limit" by a number near 2^63."""


class MemoryRoom(NamedTuple):
    """Bytes of the container's memory limit, and those of it that are free or can be freed at once."""

    limit: int
    left: int


def memory_room(cgroups: Path = CGROUPS) -> MemoryRoom | None:
    """The room in this process's container; `None` where nothing limits it. Reads three small files of cgroup v2 or v1.

    File pages that nobody used lately count as free: the kernel takes them back before it ends a process.
    """
    for folder, limit, usage, cold in (
        (cgroups, "memory.max", "memory.current", "inactive_file"),
        (cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = int((folder / limit).read_text())
            used = int((folder / usage).read_text())
            reclaimable = _row(folder / "memory.stat", cold)
        except (OSError, ValueError):  # not this version of cgroups, or "max": no limit
            continue
        if most < UNLIMITED:
            return MemoryRoom(most, max(0, most - used + reclaimable))
    return None


def check_room(needed: int, what: str) -> None:
    """Return when the container has `needed` bytes left for `what`; raise `not_supported` else, for to load it would end the
    whole instance."""
    room = memory_room()
    if room is not None and room.left < needed:
        raise StockyardError(
            "not_supported",
            f"{what} takes {needed // MB} MB of memory while it is loaded, and of this instance's {room.limit // MB} MB "
            f"{room.left // MB} MB are left: give it more, or a larger plan.",
        )


def _row(path: Path, name: str) -> int:
    """The number behind `name` in a file of lines `name number`; 0 where there is no such line."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
