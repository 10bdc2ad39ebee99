"""The journal's files: segments named `EPOCH-NUMBER.seg`, what they hold after a crash, and those of other epochs."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from instance.core.records import decode

ASIDE = "aside"

log = logging.getLogger("stockyard.journal")

_NAME = re.compile(r"([0-9a-z]+)-(\d{8})\.seg")


@dataclass(slots=True)
class Segment:
    """One file. `size` is the length of its whole frames; `damaged` says that something that is no torn tail follows."""

    number: int
    path: Path
    size: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    damaged: bool = False


def segment_path(folder: Path, epoch: str, number: int) -> Path:
    """Where a segment lies."""
    return folder / f"{epoch}-{number:08d}.seg"


def segment_numbers(folder: Path, epoch: str) -> list[int]:
    """The numbers of the epoch's segments, oldest first."""
    return sorted(number for name, number in _named(folder) if name == epoch)


def set_aside_others(folder: Path, epochs: Collection[str]) -> list[Path]:
    """Move the segments of every epoch but these to `aside/`; where they are now. They are never folded."""
    moved = []
    for name, number in sorted(_named(folder)):
        if name not in epochs:
            moved.append(set_aside(segment_path(folder, name, number)))
    return moved


def set_aside(path: Path) -> Path:
    """Move one segment to `aside/` and say so in the log; where it is now."""
    target = path.parent / ASIDE / path.name
    target.parent.mkdir(mode=0o700, exist_ok=True)
    path.replace(target)
    log.warning("the journal's segment %s was set aside as %s", path.name, target)
    return target


def scan(path: Path, number: int) -> Segment:
    """What a segment holds: its whole frames with sequences that follow each other. What comes behind is ignored."""
    data = path.read_bytes()
    segment = Segment(number, path)
    for record in decode(data, number):
        if segment.last_sequence and record.sequence != segment.last_sequence + 1:
            break
        if not segment.first_sequence:
            segment.first_sequence = record.sequence
        segment.last_sequence = record.sequence
        segment.size += record.size
    return segment


def recover(folder: Path, epoch: str, folded_sequence: int) -> list[Segment]:
    """The epoch's segments as they are after a stop or a crash, oldest first. A hole between two is logged as damage."""
    segments = [scan(segment_path(folder, epoch, number), number) for number in segment_numbers(folder, epoch)]
    expected = folded_sequence + 1
    before: Segment | None = None
    for segment in segments:
        if not segment.last_sequence:
            continue
        if segment.first_sequence > expected:
            log.error(
                "the journal lacks the records %d to %d, before %s",
                expected,
                segment.first_sequence - 1,
                segment.path.name,
            )
            if before is not None:
                before.damaged = True
        expected = max(expected, segment.last_sequence + 1)
        before = segment
    return segments


def remove(segment: Segment) -> None:
    """Remove a segment that was folded; a damaged one is kept aside for people to look at."""
    if segment.damaged:
        set_aside(segment.path)
    else:
        segment.path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(folder: Path) -> list[tuple[str, int]]:
    found = []
    for entry in folder.iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found.append((match[1], int(match[2])))
    return found
