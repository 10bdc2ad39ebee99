"""The mock's HTTP/1.1: one connection of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, cast

import httptools

from instance.mock_upstream.exchange import Call, Event, Response
from instance.mock_upstream.replies import Reply

if TYPE_CHECKING:
    from instance.mock_upstream.server import MockUpstream

_END = Event(b"")
"""Stands for the end of a stream, which can be withheld like its events."""
BODY_MAX_BYTES = 256 << 20
"""A larger body's connection is cut."""


class Connection(asyncio.Protocol):
    def __init__(self, upstream: MockUpstream) -> None:
        self._upstream = upstream
        self._plain = upstream.plain_replies
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._call: Call | None = None
        self._task: asyncio.Task[None] | None = None
        self._number = 0
        self._new_request()

    def _new_request(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def say(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._upstream.connections += 1
        self._number = self._upstream.connections
        self._upstream.open_connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.open_connections.discard(self)
        if self._call is not None and not self._call.answered:
            self._call.hung_up = True
        if self._task is not None:
            self._task.cancel()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._plain is None:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > BODY_MAX_BYTES:
            self.cut()
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._plain is not None:
            self._body = []
            self._body_bytes = 0
            assert self._transport is not None
            self._transport.write(self._plain[b'"stream":true' in body])
            return
        call = Call(self._parser.get_method().decode(), self._target.decode(), self._headers, body)
        call.connection = self._number
        self._new_request()
        self._call = call
        self._upstream.calls.append(call)
        reply = self._upstream.next_reply(call)
        self._task = asyncio.get_running_loop().create_task(self._answer(call, reply))

    async def _answer(self, call: Call, reply: Reply) -> None:
        transport = self._transport
        assert transport is not None
        if reply.delay_s:
            await self._upstream.clock.sleep(reply.delay_s)
        if reply.wire is not None:
            transport.write(reply.wire)
            call.answered = True
            transport.close()
            return
        response = self._upstream.respond(call, reply)
        headers = {"content-type": response.content_type, **response.headers, **reply.headers}
        if response.status == HTTPStatus.OK:
            response.status = reply.status
        if response.events is not None:
            transport.write(head(response.status, headers, None))
            await self._stream(call, response.paced_by or reply, response, response.events, transport)
            return
        body = reply.lead + response.body
        start = head(response.status, headers, len(body))
        if reply.drop_after is not None:
            transport.write(start + body[: reply.drop_after])
            call.answered = True
            transport.close()
            return
        if reply.lead and reply.piece_delay_s:
            transport.write(start)
            for place in range(len(reply.lead)):
                transport.write(body[place : place + 1])
                await self._upstream.clock.sleep(reply.piece_delay_s)
            start, body = b"", response.body
        call.answered = True
        transport.write(start + body)

    async def _stream(
        self, call: Call, reply: Reply, response: Response, events: Iterator[Event], transport: asyncio.Transport
    ) -> None:
        pieces = 0
        for number, event in enumerate(chain(events, (_END,))):
            # N pieces are what leads in, and the first N; what follows the last piece needs that one sent
            if event.piece or pieces:
                if reply.stall_after is not None and pieces >= reply.stall_after:
                    await asyncio.Event().wait()
                if reply.drop_after is not None and pieces >= reply.drop_after:
                    call.answered = True
                    transport.close()
                    return
                if reply.fail_after is not None and pieces >= reply.fail_after:
                    self._write(transport, response.failing, reply)
                    break
            self._write(transport, self._data(number, event, reply), reply)
            pieces += event.piece
            if reply.piece_delay_s and event is not _END:
                await self._upstream.clock.sleep(reply.piece_delay_s)
        call.answered = True
        transport.write(b"0\r\n\r\n")

    def _data(self, number: int, event: Event, reply: Reply) -> bytes:
        if reply.mangle is None or event is _END:
            return event.data
        return reply.mangle(number, event.data)

    def _write(self, transport: asyncio.Transport, data: bytes, reply: Reply) -> None:
        if not data:
            return
        size = reply.slice_bytes or len(data)
        for start in range(0, len(data), size):
            transport.write(chunk(data[start : start + size]))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head(status: int, headers: dict[str, str], length: int | None) -> bytes:
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Scripted')}", framing]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_PHRASES = {status.value: status.phrase for status in HTTPStatus}
