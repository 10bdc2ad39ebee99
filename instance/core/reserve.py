"""Disk space kept back: a file of zeros that becomes the journal's next segment when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

RESERVE_BYTES = 4 << 20
HEADROOM_BYTES = 2 << 20
"""Free space beyond the reserve itself without which the disk still counts as full."""

NAME = "reserve"

_BLOCK = bytes(1 << 16)


def disk_has_room(folder: Path, size: int) -> bool:
    """Whether the disk has room for `size` bytes and the headroom."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize >= size + HEADROOM_BYTES


def make_reserve(folder: Path, size: int) -> int:
    """An open descriptor of a reserve whose blocks are all allocated: written, not only promised. Raises `OSError`.

    One that an earlier process left is taken over.
    """
    path = folder / NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        have = os.fstat(descriptor)
        if have.st_size == size and have.st_blocks * 512 >= size:
            return descriptor
        os.ftruncate(descriptor, 0)
        at = 0
        while at < size:
            at += os.pwrite(descriptor, _BLOCK[: size - at], at)
        os.fdatasync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return descriptor
