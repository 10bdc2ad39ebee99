"""One connection to a provider: HTTP/1.1 on httptools, one request at a time."""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from instance.chute.upstream.decode import decoder_for
from instance.chute.upstream.errors import Kind, UpstreamError
from instance.chute.upstream.limits import Limits
from instance.chute.upstream.response import UpstreamResponse

_NO_BODY = (204, 304)


class Connection(asyncio.Protocol):
    """Sends a request, feeds its answer to an `UpstreamResponse`, and tells its owner when it is free or gone.

    `on_idle(connection)` is called once per answer that left the connection fit for another request, `on_lost` once at
    the end of its life.
    """

    __slots__ = (
        "_big_request",
        "_failure",
        "_framed",
        "_head_bytes",
        "_header_count",
        "_headers",
        "_interim",
        "_keep_alive",
        "_limits",
        "_on_idle",
        "_on_lost",
        "_parser",
        "_paused",
        "_received",
        "_response",
        "_transport",
        "closed",
        "idle_limit_s",
        "idle_since",
        "loop",
        "origin",
    )

    def __init__(
        self,
        origin: str,
        limits: Limits,
        on_idle: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self.origin = origin
        self.closed = False
        self.idle_since = 0.0
        self.idle_limit_s = limits.idle_s
        self._limits = limits
        self._on_idle = on_idle
        self._on_lost = on_lost
        self.loop = asyncio.get_running_loop()
        """Asked once: in CPython 3.11 each question is a system call."""
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._response: UpstreamResponse | None = None
        self._paused = False
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._header_count = 0
        self._received = 0
        self._interim = False
        self._framed = False
        self._keep_alive = False
        self._failure: UpstreamError | None = None

    def request(self, head: bytes, body: bytes) -> UpstreamResponse:
        """Writes a request; the response's `head()` waits for the answer."""
        self._reset()
        response = self._response = UpstreamResponse(self)
        transport = self._transport
        if transport is None or self.closed:
            self._response = None
            response.fail(UpstreamError("reset", "the connection was closed", sent=False))
            return response
        self._big_request = len(body) > self._limits.joined_body_bytes
        if self._big_request:
            transport.write(head)
            transport.write(body)
        else:
            transport.write(head + body)
        return response

    def abort(self) -> None:
        """Closes the socket now, whatever is still to be sent or read."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def resume_reading(self) -> None:
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        response, parser = self._response, self._parser
        if response is None or parser is None:
            self.abort()  # an answer to nothing: a late error page, or a server out of step
            return
        self._received += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._broken(response, error)
            return
        if self._response is None:
            self._finish(response)
        elif response.status:
            if self._received - self._head_bytes > self._limits.response_bytes:
                self._fail(response, "too_large", f"the answer is larger than {self._limits.response_bytes} bytes")
            response.wake()
        elif self._received > self._limits.head_bytes:
            self._fail(response, "too_large", f"the answer's head is larger than {self._limits.head_bytes} bytes")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        response, self._response = self._response, None
        self._parser = None
        if response is not None:
            self._cut_short(response, exc)
        self._on_lost(self)

    def _cut_short(self, response: UpstreamResponse, exc: Exception | None) -> None:
        reason = f": {exc}" if exc is not None else ""
        if self._received == 0:
            response.fail(UpstreamError("reset", f"the connection was closed before any answer{reason}", sent=True))
        elif response.status and not self._framed and exc is None:
            response.complete()  # a body that lasts until the connection ends
            response.wake()
        else:
            response.fail(UpstreamError("truncated", f"the connection was closed inside the answer{reason}", sent=True))

    def _finish(self, response: UpstreamResponse) -> None:
        """The answer is whole: keep the connection if it is fit for another."""
        response.wake()
        transport = self._transport
        if transport is None or self.closed:
            return
        unsent = self._big_request and transport.get_write_buffer_size() > 0
        if not self._keep_alive or unsent:
            self.abort()
            return
        self.resume_reading()
        self._on_idle(self)

    def _broken(self, response: UpstreamResponse, error: Exception) -> None:
        """The parser gave up. An answer that was whole before the rubbish stays valid; the connection does not."""
        if self._response is not None:
            response.fail(self._failure or UpstreamError("bad_response", f"not an HTTP answer: {error}", sent=True))
        self._response = None
        self.abort()
        response.wake()

    def _fail(self, response: UpstreamResponse, kind: Kind, message: str) -> None:
        self._response = None
        response.fail(UpstreamError(kind, message, sent=True))
        self.abort()

    # httptools callbacks: an exception raised in one ends `feed_data` with HttpParserCallbackError

    def on_message_begin(self) -> None:
        if self._response is None:
            self._keep_alive = False
            raise ValueError("bytes after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._header_count > self._limits.header_count:
            self._refuse("too_large", f"the answer has more than {self._limits.header_count} headers")
        if self._head_bytes > self._limits.head_bytes:
            self._refuse("too_large", f"the answer's head is larger than {self._limits.head_bytes} bytes")
        name = name.lower()
        headers = self._headers
        if name in headers:
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        response, parser = self._response, self._parser
        if response is None or parser is None:
            return
        status = parser.get_status_code()
        self._interim = status < 200
        if status == 101 or status < 100:
            self._refuse("bad_response", f"the answer has status {status}")
        if self._interim:
            return
        headers, self._headers = self._headers, {}
        self._keep_alive = parser.should_keep_alive()
        self._framed = (
            b"content-length" in headers
            or b"chunked" in headers.get(b"transfer-encoding", b"").lower()
            or status in _NO_BODY
        )
        if b"keep-alive" in headers:
            self._heed_keep_alive(headers[b"keep-alive"])
        try:
            decoder = decoder_for(headers.get(b"content-encoding"), self._limits.decoded_block_bytes)
        except UpstreamError as error:
            self._failure = error
            raise
        response.begin(status, headers, decoder)

    def on_body(self, data: bytes) -> None:
        response = self._response
        if (
            response is not None
            and response.add(data) > self._limits.buffered_bytes
            and not self._paused
            and self._transport is not None
        ):
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self._headers = {}
            return
        response, self._response = self._response, None
        if response is not None:
            response.complete()

    def _refuse(self, kind: Kind, message: str) -> None:
        self._failure = UpstreamError(kind, message, sent=True)
        raise self._failure

    def _heed_keep_alive(self, value: bytes) -> None:
        """Stays a second below the idle time that the server announces."""
        for part in value.split(b","):
            name, _, seconds = part.strip().partition(b"=")
            if name.lower() == b"timeout" and seconds.isdigit():
                self.idle_limit_s = min(self._limits.idle_s, max(0.0, int(seconds[:9]) - 1.0))
