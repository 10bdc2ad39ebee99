"""What earlier check-ups saw: free space over time, and the clocks; a small file in the run folder that may be lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from control_plane.runtimes.proc import boot_id

NAME = "doctor.json"
SAMPLES_MOST = 288
SAMPLE_EVERY_S = 300.0
KEPT_S = 7 * 86_400.0


class Sample(NamedTuple):
    """Bytes free on the data folder's file system at a time."""

    at: float
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Clocks:
    """Two clocks read at once; `since_boot` runs on while the machine is suspended and is set by nobody."""

    wall: float
    since_boot: float
    boot: str


@dataclass(slots=True)
class Notebook:
    """The notes, oldest sample first."""

    clocks: Clocks | None = None
    samples: list[Sample] = field(default_factory=list)


def clocks_now() -> Clocks:
    """The clocks of this machine."""
    return Clocks(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot_id())


def read_notes(run_dir: Path) -> Notebook:
    """The notes of the last check-up; empty ones when there are none that can be read."""
    try:
        found = json.loads((run_dir / NAME).read_text(encoding="utf-8"))
        clocks = Clocks(**found["clocks"]) if found["clocks"] else None
        return Notebook(clocks, [Sample(float(at), int(free)) for at, free in found["samples"]])
    except (OSError, ValueError, KeyError, TypeError):
        return Notebook()


def write_notes(run_dir: Path, clocks: Clocks, samples: Sequence[Sample]) -> None:
    """Replace the notes; 0600. A folder that cannot be written is another check's finding."""
    partial = run_dir / f"{NAME}.{os.getpid()}.partial"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"clocks": asdict(clocks), "samples": samples}, file)
        partial.replace(run_dir / NAME)
    except OSError:
        partial.unlink(missing_ok=True)


def with_sample(samples: Sequence[Sample], new: Sample) -> list[Sample]:
    """The samples with the new one, bounded in number and age; one every few minutes is enough."""
    kept = [each for each in samples if new.at - KEPT_S <= each.at <= new.at]
    if kept and new.at - kept[-1].at < SAMPLE_EVERY_S:
        return kept[-SAMPLES_MOST:]
    return [*kept, new][-SAMPLES_MOST:]
