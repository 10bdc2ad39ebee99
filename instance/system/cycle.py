"""One request and its answer on a connection: uvicorn's cycle, with short ways for calls."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from instance.chute.answering import ConnectionCut

if TYPE_CHECKING:
    from instance.system.connection import Connection

PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


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


class Arrival:
    """What asyncio's Event is to uvicorn's cycle, for the one waiter that it has: set when something came or is over."""

    __slots__ = ("_waiter", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        self.is_set = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        """Return when it is set."""
        while not self.is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None


class Cycle(RequestResponseCycle):
    """One request and its answer, as uvicorn's, with short ways for calls: a body that is whole already is taken without an
    ASGI message, a whole answer leaves in one write, and a stream's blocks are written as they are given.

    It is in the scope under `WHOLE_ANSWER`; who does not know it uses `receive` and `send`.
    """

    def __init__(self, connection: Connection, scope: Any, keep_alive: bool) -> None:
        # The parent's constructor sets the same, from thirteen named arguments.
        self.scope = scope
        self.transport = connection.transport
        self.flow = connection.flow
        self.logger = connection.logger
        self.access_logger = connection.access_logger
        self.access_log = False
        self.default_headers = connection.server_state.default_headers
        self._arrived = Arrival()
        self.message_event = self._arrived  # type: ignore[assignment]
        self.on_response = connection.on_response_complete
        self.disconnected = False
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = connection.expect_100_continue
        self.body = b""  # type: ignore[assignment]
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.chunked_encoding = None
        self.expected_content_length = 0
        self._direct = connection.transport
        self._loop = connection.loop
        self._tasks = connection.tasks
        self.task: asyncio.Task[None] | None = None
        """What runs the application."""

    def start(self, loop: asyncio.AbstractEventLoop, app: Any) -> None:
        """Run the application on this request, in a task of its own."""
        self.task = loop.create_task(self.run_asgi(app))
        self._tasks.add(self.task)

    async def run_asgi(self, app: Any) -> None:
        try:
            await app(self.scope, self.receive, self.send)
            if not (self.response_complete or self.disconnected):
                raise RuntimeError("the application returned without completing its answer")
        except ConnectionCut as cut:
            if cut.at_once:
                self.transport.abort()
            else:
                self.transport.close()
        except BaseException as error:  # logged, and the connection answers or ends: there is nobody above to tell
            self.logger.error("Exception in ASGI application\n", exc_info=error)
            if self.response_started:
                self.transport.close()
            else:
                await self.send_500_response()
        finally:
            # What leads back here is let go, so that no request waits for the garbage collector.
            self.on_response = _nothing
            self.scope.pop("extensions", None)
            if self.task is not None:
                self._tasks.discard(self.task)
                self.task = None

    def begin(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Begin an answer whose body is given block by block; its head leaves in one write with the first block. False: only
        `send` may, which also judges headers that hold line breaks."""
        if self.response_started or self.disconnected:
            return False
        self.transport = HeadWithBody(self._direct, self._loop)  # type: ignore[assignment]
        if self.flow.write_paused or self.default_headers:
            return False
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
            return False
        self.response_started = self.chunked_encoding = True
        self.waiting_for_100_continue = False
        close = b"" if self.keep_alive else b"connection: close\r\n"
        self.transport.write(b"HTTP/1.1 200 OK\r\n%b%btransfer-encoding: chunked\r\n\r\n" % (lines, close))
        return True

    def put(self, block: bytes, *, last: bool = False) -> bool:
        """Send a block of an answer that `begin` began; False: it has to wait until the client has taken more, by `send`."""
        if self.disconnected:
            return True
        if self.flow.write_paused:
            return False
        data = b"%x\r\n%b\r\n" % (len(block), block) if block else b""
        self.transport.write(data + b"0\r\n\r\n" if last else data)
        if last:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
        return True

    def take_body(self) -> bytes | None:
        """The request's body when all of it is here; `None` when it has to be received."""
        if self.more_body or self.waiting_for_100_continue or self.disconnected or self.response_complete:
            return None
        body, self.body = self.body, b""  # type: ignore[assignment]
        self._arrived.is_set = False
        return body  # type: ignore[return-value]

    async def receive(self) -> Any:
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            await self._arrived.wait()
            self._arrived.is_set = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""  # type: ignore[assignment]
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Send the answer; `headers` are whole lines, each ending in CR LF, content-length among them: the caller vouches
        for them."""
        if self.disconnected or self.response_started:
            return
        self.response_started = self.response_complete = True
        keep_alive = self.keep_alive
        close = b"" if keep_alive else b"connection: close\r\n"
        self._direct.write(b"HTTP/1.1 %d %s\r\n%s%s\r\n%s" % (status, PHRASES[status], headers, close, body))
        self.message_event.set()
        if not keep_alive:
            self._direct.close()
        self.on_response()


def _nothing() -> None:
    """Stands for the connection once the cycle is over."""
