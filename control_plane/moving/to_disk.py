"""A file that arrives: to disk as it comes, bounded, without holding up whatever else the process does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

from control_plane.errors import CloudError

AT_ONCE = 1 << 20  # bytes handed to a thread that writes them


def too_large(most: int) -> CloudError:
    """The refusal of a file that the plan has no room for."""
    message = f"the file is larger than the plan has room for ({most} bytes)"
    return CloudError("body_too_large", message, param="file", headers={"Connection": "close"})


async def save(chunks: AsyncIterator[bytes], into: Path, most: int) -> None:
    """Write the chunks to `into`, a new file (0600). Raises `body_too_large` as soon as there are more than `most` bytes."""
    size, held = 0, bytearray()
    descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > most:
                raise too_large(most)
            held += chunk
            if len(held) >= AT_ONCE:
                await asyncio.to_thread(_write, file.fileno(), held)
                held = bytearray()
        await asyncio.to_thread(_write, file.fileno(), held)


def _write(descriptor: int, content: bytearray) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
