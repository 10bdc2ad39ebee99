"""One client connection: uvicorn's HTTP/1.1 protocol, with bounds on the head and errors in our shape."""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from instance.chute.answering import WHOLE_ANSWER, ConnectionCut
from instance.core.errors import StockyardError, error_body

HEAD_MAX_BYTES = 32 << 10
HEAD_DEADLINE_S = 30.0
KEEP_ALIVE_S = 180
"""Longer than the edge keeps an idle connection, so that it is never the instance that closes one in use."""

PLAIN_URL = re.compile(rb"/[A-Za-z0-9/._~-]*").fullmatch
"""A path as nearly every call has it: nothing to take apart and nothing escaped."""
ASGI: Any = {"version": "3.0", "spec_version": "2.3"}
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
    """One request and its answer, as uvicorn's, with two short ways for calls: a body that is whole already is taken without
    an ASGI message, and a whole answer leaves in one write.

    It is in the scope under `WHOLE_ANSWER`; who does not know it uses `receive` and `send`.
    """

    def __init__(self, connection: Connection, scope: Any, keep_alive: bool) -> None:
        # The parent's constructor sets the same, from thirteen named arguments.
        self.scope = scope
        self.transport = HeadWithBody(connection.transport, connection.loop)  # type: ignore[assignment]
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
        self._tasks = connection.tasks
        self._task: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop, app: Any) -> None:
        """Run the application on this request, in a task of its own."""
        self._task = loop.create_task(self.run_asgi(app))
        self._tasks.add(self._task)

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
            if self._task is not None:
                self._tasks.discard(self._task)
                self._task = None

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


class Connection(HttpToolsProtocol):
    """Refuses a head over 32 KiB with 413, one that is no HTTP with 400, and drops one that is not there within 30 s.

    `idle_since` is the loop's time at which its last answer was complete, 0 while a request runs: the listener closes
    connections that rest too long, for all of them with one timer.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.idle_since = 0.0
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
        self.idle_since = 0.0
        self._received = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        except httptools.HttpParserError:
            self.send_400_response("")
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES:
                self._refuse(StockyardError("body_too_large", f"The request's head is over {HEAD_MAX_BYTES} bytes."))
            elif self._head_timer is None:
                self._arm()

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.scope = {  # type: ignore[typeddict-item]
            "type": "http",
            "asgi": ASGI,
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": "",
            "headers": self.headers,
            "state": {},
        }
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._disarm()
        if self._head_bytes + self._received > HEAD_MAX_BYTES and self._head_size() > HEAD_MAX_BYTES:
            self._refuse(StockyardError("body_too_large", f"The request's head is over {HEAD_MAX_BYTES} bytes."))
            return
        parser, scope, url = self.parser, self.scope, self.url
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        path, query = url, b""
        if not PLAIN_URL(url):
            parsed = httptools.parse_url(url)
            path, query = parsed.path, parsed.query or b""
        scope["raw_path"] = path
        scope["path"] = unquote(path.decode("ascii")) if b"%" in path else path.decode("ascii")
        scope["query_string"] = query
        before = self.cycle
        cycle = self.cycle = Cycle(self, scope, version != "1.0" and parser.should_keep_alive())
        scope["extensions"] = {WHOLE_ANSWER: cycle}  # type: ignore[dict-item]
        if before is None or before.response_complete:
            cycle.start(self.loop, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            cycle.start(self.loop, app)  # type: ignore[attr-defined]
        else:
            self.idle_since = self.loop.time()

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete or self.transport.is_closing():
            return
        cycle.body = cycle.body + body if cycle.body else body  # type: ignore[assignment]
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._in_head = False
        cycle = self.cycle
        if cycle.response_complete or self.transport.is_closing():
            return
        cycle.more_body = False
        cycle.message_event.set()

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
