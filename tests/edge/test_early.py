"""Who is refused gets the answer, however much was to be sent, and nobody sends without end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from control_plane.config import Config
from control_plane.routing.early import DropLimits
from tests.edge.activator_parts import APP_KEY, KEY, PlayedPlane, running_activator, stats, write_snapshot
from tests.waiting import until

CHAT = "POST /v1/chat/completions"
MEGABYTE = b"x" * (1 << 20)


class Wire:
    """One connection to the activator, on which a test writes and reads bytes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def begin(self, request: str = CHAT, *headers: str) -> None:
        head = [f"{request} HTTP/1.1", "host: edge", "x-stockyard-tenant: acme", *headers, "", ""]
        await self.write("\r\n".join(head).encode())

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, str]:
        """Status and head, after the whole answer was read."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
        await self.reader.readexactly(int(length.partition(":")[2]))
        return int(head.split(" ")[1]), head


def socket_of(config: Config) -> Path:
    return config.run_dir / "a.sock"


@asynccontextmanager
async def wire(config: Config) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_unix_connection(str(socket_of(config)))
    try:
        async with asyncio.timeout(30):
            yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def sent_without_end(path: Path, request_line: str) -> bytes:
    """What a caller reads who looks only when its sending fails."""
    head = f"{request_line} HTTP/1.1\r\nhost: edge\r\nx-stockyard-tenant: acme\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(30)
        caller.connect(str(path))
        caller.sendall(head.encode())
        with suppress(BrokenPipeError):
            while True:
                caller.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        return caller.recv(65536)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize(
    ("state", "request_line", "key", "status"),
    [
        ("asleep", CHAT, "wrong", 401),
        ("asleep", CHAT, KEY, 503),  # nobody is there to wake it
        ("asleep", "POST /ui/wake", KEY, 401),
        ("suspended", CHAT, KEY, 403),
        ("suspended", "POST /ui/wake", KEY, 403),
        ("failed", CHAT, KEY, 503),
        ("failed", "POST /health", KEY, 503),
        ("deleted", CHAT, KEY, 404),
        ("unknown", CHAT, KEY, 404),
    ],
)
async def test_who_is_refused_sends_a_megabyte_and_gets_the_answer(
    config: Config, state: str, request_line: str, key: str, status: int, connection: str
) -> None:
    write_snapshot(config, state, slug="other" if state == "unknown" else "acme")
    async with running_activator(config), wire(config) as caller:
        size, authorization = f"content-length: {len(MEGABYTE)}", f"authorization: Bearer {key}"
        await caller.begin(request_line, size, authorization, f"connection: {connection}")
        await caller.write(MEGABYTE)
        assert (await caller.answer())[0] == status
        if connection == "keep-alive":
            await caller.begin("GET /v1/models", authorization)
            assert (await caller.answer())[0] in (401, 403, 404, 503)
    (config.snapshot_dir / "acme.json").unlink(missing_ok=True)


@pytest.mark.parametrize("request_line", [CHAT, "POST /ui/wake"])
async def test_a_body_without_end_is_cut_off_after_so_many_bytes(config: Config, request_line: str) -> None:
    write_snapshot(config, "asleep")
    limits = DropLimits(body_bytes=1 << 20, seconds=30)
    async with running_activator(config, drop_limits=limits):
        answer = await asyncio.to_thread(sent_without_end, socket_of(config), request_line)
    assert answer.startswith(b"HTTP/1.1 401") and b"connection: close" in answer


@pytest.mark.parametrize("request_line", [CHAT, "POST /ui/wake"])
async def test_a_body_that_does_not_come_is_waited_for_only_so_long(config: Config, request_line: str) -> None:
    write_snapshot(config, "asleep")
    limits = DropLimits(seconds=0.1)
    async with running_activator(config, drop_limits=limits), wire(config) as caller:
        await caller.begin(request_line, "content-length: 10")
        status, head = await caller.answer()
        assert (status, "connection: close" in head) == (401, True)
        assert await caller.reader.read() == b""


async def test_a_held_call_that_is_given_up_does_not_send_without_end(config: Config) -> None:
    write_snapshot(config, "asleep")
    async with PlayedPlane(config).running() as plane:
        plane.status = "suspended"
        async with running_activator(config, drop_limits=DropLimits(seconds=0.1)), wire(config) as caller:
            await caller.begin(CHAT, "content-length: 10", f"authorization: Bearer {APP_KEY}")
            status, head = await caller.answer()
            assert (status, "connection: close" in head) == (403, True)
            assert await caller.reader.read() == b""


async def test_bodies_are_dropped_for_so_many_callers_at_once(config: Config) -> None:
    write_snapshot(config, "asleep")
    config.operator_key_file.write_text("sy_op_x")
    limits = DropLimits(calls=1, seconds=30)
    async with running_activator(config, drop_limits=limits) as client, wire(config) as first, wire(config) as second:
        await first.begin(CHAT, "content-length: 10")

        async def is_read() -> bool:
            return bool((await stats(client))["dropping"] == 1)

        await until(is_read)
        await second.begin(CHAT, "content-length: 10")
        status, head = await second.answer()
        assert (status, "connection: close" in head) == (401, True)
        await first.write(b"0123456789")
        status, head = await first.answer()
        assert (status, "connection: close" in head) == (401, False)
        assert (await stats(client))["dropping"] == 0
