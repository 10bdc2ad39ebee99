"""A process that appends and folds until it is killed: `python -m tests.core.appender FOLDER`.

Each line that it prints is the sequence of a record whose append returned. Segments are small, so that they come and go.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.core.conftest import CALL, Stack

SEGMENT_BYTES = 16 << 10
RESERVE_BYTES = 64 << 10
LAG_MAX_BYTES = 256 << 10


def text_of(sequence: int) -> bytes:
    """What the record of this sequence carries, at different lengths."""
    return b"%d:" % sequence + b"x" * (sequence * 37 % 700)


async def run(folder: Path) -> None:
    stack = Stack(folder, segment_bytes=SEGMENT_BYTES, reserve_bytes=RESERVE_BYTES)
    stack.writer.start()
    os.write(1, b"ready\n")
    while True:
        for _ in range(20):
            sequence = stack.journal.append(CALL, text_of(stack.journal.sequence + 1))
            os.write(1, b"%d\n" % sequence)
        await asyncio.sleep(0)
        while stack.journal.lag_bytes > LAG_MAX_BYTES:
            await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
