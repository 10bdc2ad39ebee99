"""One client connection: uvicorn's HTTP/1.1 protocol, with bounds on the head and errors in our shape."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from instance.chute.answering import WHOLE_ANSWER
from instance.core.errors import StockyardError, error_body
from instance.system.cycle import Cycle

HEAD_MAX_BYTES = 32 << 10
HEAD_DEADLINE_S = 30.0
KEEP_ALIVE_S = 180
"""Longer than the edge keeps an idle connection, so that it is never the instance that closes one in use."""

PLAIN_URL = re.compile(rb"/[A-Za-z0-9/._~-]*").fullmatch
"""A path as nearly every call has it: nothing to take apart and nothing escaped."""
ASGI: Any = {"version": "3.0", "spec_version": "2.3"}
REASONS = {400: b"Bad Request", 413: b"Content Too Large"}


class Connection(HttpToolsProtocol):
    """Refuses a head over 32 KiB with 413, one that is no HTTP with 400, and drops one that is not there within 30 s.

    `idle_since` is the loop's time at which its last answer was complete, 0 while a request runs: the listener closes
    connections that rest too long, for all of them with one timer.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.idle_since = 0.0
        self._url = b""
        """Of the request before, which most callers repeat; `_parts` is what it was taken apart into."""
        self._parts: tuple[bytes, str, bytes] = (b"", "", b"")
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
        method = parser.get_method()
        scope["method"] = "POST" if method == b"POST" else method.decode("ascii")
        if version != "1.1":
            scope["http_version"] = version
        if url == self._url:
            scope["raw_path"], scope["path"], scope["query_string"] = self._parts
        else:
            path, query = url, b""
            if not PLAIN_URL(url):
                parsed = httptools.parse_url(url)
                path, query = parsed.path, parsed.query or b""
            text = path.decode("ascii")
            self._parts = path, unquote(text) if "%" in text else text, query
            self._url = url
            scope["raw_path"], scope["path"], scope["query_string"] = self._parts
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
