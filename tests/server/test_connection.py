"""Connections as bytes: heads that are too large or no HTTP, and what draining does to open connections."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from instance.system import connection as limits
from instance.system.drain import drain, resume
from instance.system.listener import CannotListen, Listener
from tests.opened import Opened, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served() -> AsyncIterator[tuple[Opened, str]]:
    """An instance that listens on a Unix socket, and the socket's path."""
    with tempfile.TemporaryDirectory(prefix="sy") as folder:
        async with opened() as one:
            path = f"{folder}/s.sock"
            await one.instance.listener.listen_unix(path)
            yield one, path


async def said(path: str, *pieces: bytes) -> bytes:
    """Everything that is answered to these bytes until the connection closes."""
    reader, writer = await asyncio.open_unix_connection(path)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


def status_and_code(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


async def test_what_is_no_http_is_400_in_the_error_shape(served: tuple[Opened, str]) -> None:
    assert status_and_code(await said(served[1], b"hello there\r\n\r\n")) == (400, "bad_request")


async def test_a_head_over_the_limit_is_refused_whole_or_in_pieces(served: tuple[Opened, str]) -> None:
    path = served[1]
    line = b"x-filler: " + b"x" * 1000 + b"\r\n"
    whole = b"GET /health HTTP/1.1\r\nhost: a\r\n" + line * 40 + b"\r\n"
    assert status_and_code(await said(path, whole)) == (413, "body_too_large")
    assert status_and_code(await said(path, b"GET /health HTTP/1.1\r\n", *[line] * 33)) == (413, "body_too_large")
    endless = b"GET /" + b"a" * 20_000
    assert status_and_code(await said(path, endless, b"a" * 15_000)) == (413, "body_too_large")


async def test_a_head_just_under_the_limit_passes(served: tuple[Opened, str]) -> None:
    line = b"x-filler: " + b"x" * 1000 + b"\r\n"
    head = b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n" + line * 30 + b"\r\n"
    assert (await said(served[1], head)).startswith(b"HTTP/1.1 200")


async def test_a_head_that_does_not_come_is_not_waited_for_for_ever(
    served: tuple[Opened, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_DEADLINE_S", 0.05)
    assert await said(served[1]) == b""
    assert await said(served[1], b"GET /health HTTP/1.1\r\n") == b""


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(
    served: tuple[Opened, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instance.system.raw_http.BODY_DEADLINE_S", 0.05)
    head = b"POST /api/trust/ledger HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{"
    assert status_and_code(await said(served[1], head)) == (400, "bad_request")


async def test_pipelined_requests_are_answered_in_order(served: tuple[Opened, str]) -> None:
    request = b"GET /%s HTTP/1.1\r\nhost: a\r\n%s\r\n"
    answer = await said(served[1], request % (b"health", b"") + request % (b"ready", b"connection: close\r\n"))
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.index(b"uptime_s") < answer.index(b"draining")


async def test_draining_closes_idle_connections_and_marks_the_answers_of_others(served: tuple[Opened, str]) -> None:
    one, path = served
    idle, idle_writer = await asyncio.open_unix_connection(path)
    used, used_writer = await asyncio.open_unix_connection(path)
    used_writer.write(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (await used.readuntil(b"}")).startswith(b"HTTP/1.1 200")
    assert (await drain(one.instance, 1.0))["drained"]
    async with asyncio.timeout(5):
        assert [await idle.read(), await used.read()] == [b"", b""]
    later = await said(path, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
    assert b"connection: close" in later.lower()
    resume(one.instance)
    for writer in (idle_writer, used_writer):
        writer.close()


async def test_a_path_too_long_for_a_socket_is_said_to_be(served: tuple[Opened, str], tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="107 bytes"):
        await Listener(None).listen_unix(f"{tmp_path}/{'x' * 120}")


async def test_a_socket_in_use_is_not_taken_away(served: tuple[Opened, str]) -> None:
    with pytest.raises(CannotListen, match="running process"):
        await Listener(served[0].instance.gateway).listen_unix(served[1])
    assert (await said(served[1], b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
