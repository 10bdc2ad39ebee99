"""One client connection: uvicorn's HTTP/1.1 protocol, with bounds on the head and errors in our shape."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from instance.chute.answering import WHOLE_ANSWER
from instance.core.errors import StockyardError, error_body

HEAD_MAX_BYTES = 32 << 10
HEAD_DEADLINE_S = 30.0
KEEP_ALIVE_S = 180
"""Longer than the edge keeps an idle connection, so that it is never the instance that closes one in use."""

PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
REASONS = {400: b"Bad Request", 413: b"Content Too Large"}


class HeadWithBody:
    """Stands for the transport in one answer: its head goes out in one write with the first block of its body.

    A head whose body does not follow at once is written alone, when the loop comes round.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = b""

    def write(self, data: bytes) -> None:
        head = self._head
        if head is None:
            self._transport.write(data)
        elif head:
            self._head = None
            self._transport.write(head + data)
        else:
            self._head = data
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        head, self._head = self._head, None
        if head:
            self._transport.write(head)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class WholeAnswer:
    """Answers a request in one step: head and body in one write. For the way of a call, where two messages of ASGI, with a
    check of each header in both, are a tenth of the cost. The caller of `send` vouches for the headers.

    It is in the scope under `WHOLE_ANSWER`; who does not know it answers by `send` as usual.
    """

    __slots__ = ("_cycle", "_transport")

    def __init__(self, cycle: RequestResponseCycle, transport: asyncio.Transport) -> None:
        self._cycle = cycle
        self._transport = transport

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send the answer; `headers` are whole lines, each ending in CR LF, content-length among them."""
        cycle = self._cycle
        if cycle.disconnected or cycle.response_started:
            return
        cycle.response_started = cycle.response_complete = True
        keep_alive = cycle.keep_alive
        close = b"" if keep_alive else b"connection: close\r\n"
        self._transport.write(b"HTTP/1.1 %d %s\r\n%s%s\r\n%s" % (status, PHRASES[status], headers, close, body))
        cycle.message_event.set()
        if not keep_alive:
            self._transport.close()
        cycle.on_response()


class Connection(HttpToolsProtocol):
    """Refuses a head over 32 KiB with 413, one that is no HTTP with 400, and drops one that is not there within 30 s."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = True
        self._head_bytes = 0
        self._received = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received = len(data)
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse(StockyardError("body_too_large", f"The request's head is over {HEAD_MAX_BYTES} bytes."))
            elif self._head_timer is None:
                self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._disarm()
        if self._head_bytes + self._received > HEAD_MAX_BYTES and self._head_size() > HEAD_MAX_BYTES:
            self._refuse(StockyardError("body_too_large", f"The request's head is over {HEAD_MAX_BYTES} bytes."))
            return
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is not None and cycle.transport is self.transport:
            self.scope["extensions"] = {WHOLE_ANSWER: WholeAnswer(cycle, self.transport)}  # type: ignore[dict-item]
            cycle.transport = HeadWithBody(self.transport, self.loop)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = False
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(StockyardError("bad_request", "What arrived is not an HTTP/1.1 request."))

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_DEADLINE_S, self.transport.close)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: StockyardError) -> None:
        if self.transport.is_closing():
            return
        body = orjson.dumps(error_body(error))
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (error.status, REASONS[error.status], len(body), body)
        )
        self.transport.close()
