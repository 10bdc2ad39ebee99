"""The disk under the data folder: space, inodes, and when it will be full if it goes on like this."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from control_plane.doctor.finding import Finding, Level, good
from control_plane.doctor.notebook import Sample

FREE_BAD_BYTES = 1 << 30
FREE_WARN_SHARE = 0.10
INODES_BAD_SHARE = 0.01
INODES_WARN_SHARE = 0.10
FORECAST_FROM_S = 600.0  # of samples, at least
FULL_BAD_S = 86_400.0
FULL_WARN_S = 7 * 86_400.0
RUNBOOK = "DiskFilling"
WHY = "on a full disk instances refuse calls (503 audit_unavailable) and no backup is made"


class Disk(NamedTuple):
    """What the file system says of itself."""

    total_bytes: int
    free_bytes: int
    inodes: int  # 0 where the file system has no fixed number
    free_inodes: int


def look_at_disk(folder: Path) -> Disk:
    """The file system that the folder lies on, as an unprivileged process may fill it."""
    found = os.statvfs(folder)
    return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def judge_space(disk: Disk) -> Finding:
    """Enough free bytes?"""
    share = disk.free_bytes / max(1, disk.total_bytes)
    seen = f"{_size(disk.free_bytes)} free of {_size(disk.total_bytes)} ({share:.0%})"
    if disk.free_bytes >= FREE_BAD_BYTES and share >= FREE_WARN_SHARE:
        return good("disk", seen)
    level = Level.BAD if disk.free_bytes < FREE_BAD_BYTES else Level.WARN
    return Finding("disk", level, seen, WHY, "make room or enlarge the disk", "du -xhd2 DATA | sort -h | tail", RUNBOOK)


def judge_inodes(disk: Disk) -> Finding:
    """Enough free inodes?"""
    if not disk.inodes:
        return good("inodes", "this file system has no fixed number of them")
    share = disk.free_inodes / disk.inodes
    seen = f"{disk.free_inodes} inodes free of {disk.inodes} ({share:.0%})"
    if share >= INODES_WARN_SHARE:
        return good("inodes", seen)
    level = Level.BAD if share < INODES_BAD_SHARE else Level.WARN
    mend = "find the folder with many small files; directories of replicas hold one for each transaction level"
    return Finding("inodes", level, seen, WHY, mend, "du --inodes -xd3 DATA | sort -n | tail", RUNBOOK)


def judge_growth(samples: Sequence[Sample]) -> Finding:
    """When it will be full, from the first sample to the last."""
    if len(samples) < 2 or samples[-1].at - samples[0].at < FORECAST_FROM_S:
        return good("disk_growth", "no forecast yet: it needs two check-ups some minutes apart")
    first, last = samples[0], samples[-1]
    used_per_s = (first.free_bytes - last.free_bytes) / (last.at - first.at)
    if used_per_s <= 0:
        return good("disk_growth", f"no growth over {_span(last.at - first.at)}")
    left_s = last.free_bytes / used_per_s
    seen = f"grows by {_size(round(used_per_s * 86_400))} a day; full in {_span(left_s)}"
    if left_s >= FULL_WARN_S:
        return good("disk_growth", seen)
    level = Level.BAD if left_s < FULL_BAD_S else Level.WARN
    return Finding("disk_growth", level, seen, WHY, "enlarge the disk before then", "", RUNBOOK)


def judge_writable(folder: Path) -> Finding:
    """May the control plane write its folder?"""
    if os.access(folder, os.W_OK | os.X_OK):
        return good("data", f"{folder} can be written")
    why = "nothing can be started, stopped or recorded"
    return Finding("data", Level.BAD, f"{folder} cannot be written", why, "mount it writable, give it to this user")


def _size(count: int) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count //= 1024
    return f"{count} TiB"


def _span(seconds: float) -> str:
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
