"""The client that calls providers."""

import asyncio
import re
import ssl

from instance.chute.upstream.connection import Connection
from instance.chute.upstream.dial import Dialer, Resolve, resolve
from instance.chute.upstream.errors import UpstreamError
from instance.chute.upstream.limits import Limits
from instance.chute.upstream.pool import Pool
from instance.chute.upstream.response import UpstreamResponse
from instance.chute.upstream.url import UpstreamUrl
from instance.core.address_policy import AddressPolicy

PLAIN_PATH = re.compile(rb"[^\x00-\x20\x7f]*").fullmatch
"""What a request's path may hold: no space, no control character."""
OWN_PATHS = frozenset((b"/chat/completions", b"/embeddings"))
"""Paths of nearly all calls, which need no look."""


class Upstream:
    """A pooled HTTP/1.1 client for one event loop.

    It follows no redirects and keeps no cookies. Deadlines other than the connect timeout belong to the caller:
    cancelling the task that waits closes the connection at once.
    """

    def __init__(
        self,
        *,
        allow_private_networks: bool = True,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: Resolve = resolve,
    ) -> None:
        self.limits = limits or Limits()
        self._pool = Pool(self.limits)
        self._dialer = Dialer(AddressPolicy(allow_private=allow_private_networks), self.limits, tls, resolver)
        self._connections: set[Connection] = set()
        self._all_lost: asyncio.Event | None = None
        self._closed = False

    async def send(
        self,
        url: UpstreamUrl,
        method: bytes,
        path: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        *,
        connect_timeout_s: float,
        ready_lines: bytes = b"",
    ) -> UpstreamResponse:
        """The answer to a request, returned when its head is in.

        `ready_lines` are further headers as `header_lines` made them, once for many requests.

        `path` is appended to the URL's own path. `host`, `accept-encoding` and `content-length` are set here and are
        not to be in `headers`. Raises UpstreamError; ValueError for a header or path that would break the framing.

        A kept-alive connection that the server had already given up is replaced by a fresh one, once, and only while
        nothing of an answer was received.
        """
        head = _head(url, method, path, headers, ready_lines, len(body))
        connection = self._pool.take_idle(url.origin)
        if connection is not None:
            response = connection.request(head, body)
            try:
                await response.head()
            except UpstreamError as error:
                if error.kind != "reset":
                    raise
            else:
                return response
        connection = await self._connection(url, connect_timeout_s)
        response = connection.request(head, body)
        await response.head()
        return response

    async def _connection(self, url: UpstreamUrl, timeout_s: float) -> Connection:
        try:
            async with asyncio.timeout(timeout_s):
                while (free := await self._pool.reserve(url.origin)) is not None:
                    if not free.closed:
                        return free
                return await self._open(url, timeout_s)
        except TimeoutError as error:
            raise UpstreamError("connect_timeout", f"no connection to {url.host} within {timeout_s:g} s") from error

    async def _open(self, url: UpstreamUrl, timeout_s: float) -> Connection:
        made: list[Connection] = []

        def make() -> Connection:
            connection = Connection(url.origin, self.limits, self._pool.release, self._lost)
            made.append(connection)
            return connection

        try:
            connection = await self._dialer.dial(url, make, timeout_s)
            if connection.closed:
                raise UpstreamError("connect", f"{url.host} closed the connection at once")
            if self._closed:
                raise UpstreamError("connect", "the client is closed")
        except BaseException:
            for attempt in made:
                attempt.abort()
            self._pool.cancel_reservation(url.origin)
            raise
        self._connections.add(connection)
        return connection

    def _lost(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._pool.lost(connection)
            if self._all_lost is not None and not self._connections:
                self._all_lost.set()

    def counts(self) -> tuple[int, int]:
        """Connections (open, idle)."""
        return self._pool.counts()

    def close_idle(self) -> None:
        """Closes every connection that no call is using, as before a nap."""
        self._pool.close_idle()

    async def close(self) -> None:
        """Closes every connection; calls in flight fail."""
        self._closed = True
        self._pool.close()
        for connection in list(self._connections):
            connection.abort()
        if self._connections:
            self._all_lost = asyncio.Event()
            await self._all_lost.wait()


def header_lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Headers as the lines of a request. Raises ValueError for one that would break the framing."""
    if len(headers) == 1:
        lines = b"%b: %b\r\n" % headers[0]
    else:
        lines = b"".join([b"%b: %b\r\n" % pair for pair in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or b"\0" in lines:
        raise ValueError("a request's path or header holds a line break, a space or a NUL")
    return lines


def _head(
    url: UpstreamUrl,
    method: bytes,
    path: bytes,
    headers: list[tuple[bytes, bytes]],
    ready_lines: bytes,
    body_bytes: int,
) -> bytes:
    if path not in OWN_PATHS and not PLAIN_PATH(path):
        raise ValueError("a request's path or header holds a line break, a space or a NUL")
    return b"%b %b%b HTTP/1.1\r\n%bcontent-length: %d\r\n%b%b\r\n" % (
        method,
        url.base_path,
        path,
        url.fixed_headers,
        body_bytes,
        ready_lines,
        header_lines(headers) if headers else b"",
    )
