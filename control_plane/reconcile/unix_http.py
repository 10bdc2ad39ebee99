"""One HTTP/1.1 request to a process of this machine: a fresh connection, a bounded JSON answer, a deadline."""

from __future__ import annotations

import asyncio
import socket as sockets
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from control_plane.reconcile.ports import Unavailable

ANSWER_MOST_BYTES = 4 << 20
Place = Path | tuple[str, int]
"""A Unix socket, or a host and a port."""


class NobodyListens(Unavailable):
    """No connection was made, so nothing was asked."""


def listens(path: Path) -> bool:
    """True if somebody accepts connections there now; cheap enough to ask often."""
    with suppress(OSError), sockets.socket(sockets.AF_UNIX) as probe:
        probe.setblocking(False)
        probe.connect(str(path))
        return True
    return False


async def request_json(
    place: Place, method: str, path: str, *, key: str = "", body: Any = None, timeout_s: float
) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of the answer; raises `Unavailable` when there is none in time.

    `NobodyListens` is that of a process which is not there. The other side is a tenant's instance and not trusted: whatever is no bounded, well-formed answer is no answer.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(place, method, path, key, body)
    except TimeoutError:
        raise Unavailable(f"{method} {path}: no answer within {timeout_s:g} s") from None
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
        raise Unavailable(f"{method} {path}: {str(error) or type(error).__name__}") from None


async def _connected(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        if isinstance(place, Path):
            return await asyncio.open_unix_connection(str(place))
        return await asyncio.open_connection(*place)
    except OSError as error:
        raise NobodyListens(f"{place}: {error.strerror or error}") from None


async def _exchange(place: Place, method: str, path: str, key: str, body: Any) -> tuple[int, dict[str, Any]]:
    reader, writer = await _connected(place)
    try:
        content = b"" if body is None else orjson.dumps(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: instance\r\nConnection: close\r\nContent-Length: {len(content)}\r\n"
        if key:
            head += f"Authorization: Bearer {key}\r\n"
        if content:
            head += "Content-Type: application/json\r\n"
        writer.write(head.encode("latin-1") + b"\r\n" + content)
        await writer.drain()
        return await _answer(reader)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ", 2)[1])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if "chunked" in headers.get("transfer-encoding", "").lower():
        content = await _chunks(reader)
    else:
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= ANSWER_MOST_BYTES:
            raise ValueError(f"answer of {length} bytes")
        content = await reader.readexactly(length)
    parsed = orjson.loads(content) if content else {}
    if not isinstance(parsed, dict):
        raise ValueError("the answer is no JSON object")
    return status, parsed


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    content = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        if size < 0 or len(content) + size > ANSWER_MOST_BYTES:
            raise ValueError("the answer is too large")
        content += await reader.readexactly(size)
        await reader.readexactly(2)
    return bytes(content)
