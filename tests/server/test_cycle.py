"""A stream's way out of a connection: blocks that are written at once, and when they have to wait."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from instance.system.cycle import Cycle


class Transport:
    """What a socket would get."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def cycle(*, keep_alive: bool = True, default_headers: Any = ()) -> tuple[Cycle, Transport]:
    transport = Transport()
    connection: Any = SimpleNamespace(
        transport=transport,
        flow=FlowControl(transport),  # type: ignore[arg-type]
        logger=None,
        access_logger=None,
        server_state=SimpleNamespace(default_headers=list(default_headers)),
        on_response_complete=lambda: transport.written.append(b"over"),
        expect_100_continue=False,
        loop=asyncio.get_running_loop(),
        tasks=set(),
    )
    return Cycle(connection, {"method": "POST"}, keep_alive), transport


async def test_the_head_leaves_with_the_first_block_and_the_last_ends_the_answer() -> None:
    one, transport = cycle()
    assert one.begin([(b"content-type", b"text/event-stream"), (b"x-a", b"b")])
    assert one.put(b"data: 1\n\n")
    assert one.put(b"data: [DONE]\n\n", last=True)
    assert transport.written == [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
        b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
        b"over",
    ]
    assert one.response_complete


async def test_a_head_without_a_block_does_not_wait_for_one_and_an_empty_end_is_one() -> None:
    one, transport = cycle(keep_alive=False)
    assert one.begin([])
    await asyncio.sleep(0)
    assert transport.written == [b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"]
    assert one.put(b"", last=True)
    assert transport.written[1:] == [b"0\r\n\r\n", b"over"]
    assert transport.closed


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x\n", b"a"), (b"x", b"\r")])
async def test_a_header_that_would_break_the_head_is_left_to_send_which_refuses_it(header: tuple[bytes, bytes]) -> None:
    one, transport = cycle()
    assert not one.begin([header])
    with pytest.raises(RuntimeError):
        await one.send({"type": "http.response.start", "status": 200, "headers": [header]})
    assert transport.written == []


async def test_a_client_that_is_slow_is_waited_for_by_send() -> None:
    one, transport = cycle()
    assert one.begin([])
    assert one.put(b"a")
    one.flow.pause_writing()
    assert not one.put(b"b")
    waiting = asyncio.create_task(one.send({"type": "http.response.body", "body": b"b", "more_body": True}))
    await asyncio.sleep(0)
    assert len(transport.written) == 1
    one.flow.resume_writing()
    await waiting
    assert one.put(b"c", last=True)
    assert transport.written[1:] == [b"1\r\nb\r\n", b"1\r\nc\r\n0\r\n\r\n", b"over"]


async def test_what_only_send_can_begin_and_what_nobody_reads_any_more() -> None:
    one, _ = cycle(default_headers=[(b"server", b"x")])
    assert not one.begin([])
    two, transport = cycle()
    assert two.begin([])
    two.disconnected = True
    assert two.put(b"a")
    assert not transport.written
    assert not two.begin([])
