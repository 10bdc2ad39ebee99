"""File descriptors of the service's processes: Litestream holds five for each database, the edge one for each call."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from control_plane.doctor.finding import Finding, Level, good, unknown

WARN_SHARE = 0.7
BAD_SHARE = 0.9
PER_DATABASE = 5
SPARE = 256
RUNBOOK = "DescriptorsShort"


class Descriptors(NamedTuple):
    """How many a process has open, and how many it may."""

    process: str
    open: int
    limit: int


def look_at_descriptors(run_dir: Path) -> list[Descriptors]:
    """Of the processes that `up` noted, else of this one alone."""
    found = [each for name, pid in _noted(run_dir) if (each := _of(name, pid)) is not None]
    own = _of("this process", os.getpid())
    return found or ([own] if own is not None else [])


def judge_descriptors(found: Iterable[Descriptors], tenants: int) -> Finding:
    """Are they enough now, and for every tenant at once?"""
    seen = list(found)
    if not seen:
        return unknown("descriptors", "/proc does not tell")
    fullest = max(seen, key=lambda each: each.open / max(1, each.limit))
    text = ", ".join(f"{each.process} {each.open}/{each.limit}" for each in seen)
    share = fullest.open / max(1, fullest.limit)
    wanted = tenants * PER_DATABASE + SPARE
    short = [each for each in seen if each.process == "litestream" and each.limit < wanted]
    if share < WARN_SHARE and not short:
        return good("descriptors", text)
    level = Level.BAD if share >= BAD_SHARE else Level.WARN
    if short:
        text += f"; litestream needs about {wanted} for {tenants} tenants awake at once"
    why = "a process without free descriptors refuses calls, or stops copying databases"
    mend = "raise the limit of the service (LimitNOFILE= in its unit) and start it again"
    return Finding("descriptors", level, text, why, mend, "ulimit -n 65536", RUNBOOK)


def _noted(run_dir: Path) -> Iterator[tuple[str, int]]:
    try:
        found = json.loads((run_dir / "up.json").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    for name, (pid, _) in found.items():
        yield name, pid


def _of(name: str, pid: int) -> Descriptors | None:
    try:
        held = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    except OSError:
        return None
    line = next((each for each in limits.splitlines() if each.startswith("Max open files")), "")
    words = line.removeprefix("Max open files").split()
    return Descriptors(name, held, int(words[0])) if words and words[0].isdigit() else None
