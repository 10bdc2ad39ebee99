"""The end of a log file, and what is added to it, bounded in lines, in their length and in what is read at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from control_plane.runtimes.protocol import FOLLOW_POLL_S, LINE_MOST_BYTES, TAIL_MOST_BYTES

READ_BYTES = 256 << 10


async def lines_of(path: Path, *, lines: int, follow: bool) -> AsyncIterator[str]:
    """The last lines of the file, oldest first, then those to come; a file that is replaced is read from its beginning."""
    last, place = await asyncio.to_thread(_tail, path, lines)
    for line in last:
        yield line
    rest = b""
    while follow:
        added, place = await asyncio.to_thread(_added, path, place)
        if not added:
            await asyncio.sleep(FOLLOW_POLL_S)
            continue
        *whole, rest = (rest + added).split(b"\n")
        rest = rest[:LINE_MOST_BYTES]
        for each in whole:
            yield shown(each)


def shown(line: bytes) -> str:
    """A line as it is answered."""
    return line[:LINE_MOST_BYTES].decode("utf-8", "replace").rstrip("\r\n")


def _tail(path: Path, lines: int) -> tuple[list[str], tuple[int, int]]:
    """The last lines, and the place (inode, offset) up to which they were read."""
    with suppress(OSError), path.open("rb") as file:
        inode, end = _identity(path), file.seek(0, 2)
        file.seek(max(0, end - TAIL_MOST_BYTES))
        content = file.read(TAIL_MOST_BYTES)
        whole = content.rpartition(b"\n")[0] if not content.endswith(b"\n") else content[:-1]
        found = [shown(each) for each in whole.split(b"\n")[-lines:]] if whole else []
        return found, (inode, end - (len(content) - len(whole) - 1 if whole else len(content)))
    return [], (0, 0)


def _added(path: Path, place: tuple[int, int]) -> tuple[bytes, tuple[int, int]]:
    with suppress(OSError), path.open("rb") as file:
        inode, offset = place
        found = _identity(path)
        if found != inode or file.seek(0, 2) < offset:
            inode, offset = found, 0
        file.seek(offset)
        added = file.read(READ_BYTES)
        return added, (inode, offset + len(added))
    return b"", place


def _identity(path: Path) -> int:
    return path.stat().st_ino
