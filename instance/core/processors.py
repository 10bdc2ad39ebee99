"""How many processors this process may use: those that it may run on, and the quota of its container."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable_processors(cgroups: Path = CGROUPS) -> float:
    """Of the machine's processors those that are for this process, a part of one among them; never less than a hundredth."""
    quota = _quota(cgroups)
    able = float(_able())
    return able if quota is None else max(0.01, min(able, quota))


def _able() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not on this system
        return os.cpu_count() or 1


def _quota(cgroups: Path) -> float | None:
    """Processors by the quota of cgroup v2 or v1; `None` where there is none."""
    try:
        most, period = (cgroups / "cpu.max").read_text().split()
        return int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # not this version of cgroups, or "max": no quota
        pass
    try:
        quota = int((cgroups / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((cgroups / "cpu" / "cpu.cfs_period_us").read_text())
        return quota / period_us if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
