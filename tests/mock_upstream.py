"""A small real OpenAI-compatible server for tests and benchmarks.

In a test: `async with MockUpstream() as upstream: upstream.script(text("hello"), status(503))`; beyond the script it
answers chat with `echo: <last user text>`. `upstream.calls` are the requests that came. From threads and for sync
clients: `with MockUpstream.in_thread() as upstream`. As a benchmark's upstream, with one fixed answer and no records:
`python -m tests.mock_upstream --port 9000`.
"""

import argparse
import asyncio
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
import orjson
import uvloop

from tests.mock_chat import CREATED, completion, stream_events
from tests.mock_replies import Reply

PLAIN_TEXT = (
    "A stockyard is a place where livestock is kept for a short while, between the farm it comes from and the "
    "market it goes to. "
) * 2
_JSON = {"content-type": "application/json"}


@dataclass(slots=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    answered: bool = False
    hung_up: bool = False
    """The caller closed the connection before the answer was whole."""
    connection: int = 0
    """Number of the connection it came on."""

    @property
    def key(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(slots=True)
class MockUpstream:
    """The server. `url` is what a provider's base URL would be."""

    tls: ssl.SSLContext | None = None
    plain: bool = False
    """One fixed answer, nothing recorded: for benchmarks."""
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=10_000))
    port: int = 0
    connections: int = 0
    """Connections accepted so far."""
    open_connections: "set[_Connection]" = field(default_factory=set)
    _replies: deque[Reply] = field(default_factory=deque)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"

    def script(self, *replies: Reply) -> None:
        """Queues answers: one is used for each call, in order."""
        self._replies.extend(replies)

    def next_reply(self) -> Reply | None:
        return self._replies.popleft() if self._replies else None

    async def start(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", port, ssl=self.tls, backlog=1024, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening and cuts every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut_connections()

    def cut_connections(self) -> None:
        for connection in list(self.open_connections):
            connection.cut()

    async def __aenter__(self) -> "MockUpstream":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def say(self, data: bytes) -> None:
        """Writes bytes that nobody asked for to every open connection."""
        for connection in self.open_connections:
            connection.say(data)

    def unsent_bytes(self) -> int:
        """Bytes that callers are too slow to take."""
        return sum(connection.unsent_bytes() for connection in self.open_connections)

    @classmethod
    @contextmanager
    def in_thread(cls, **options: Any) -> Iterator["MockUpstream"]:
        """A server on a loop of its own."""
        upstream = cls(**options)
        loop = uvloop.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(upstream.start(), loop).result(10)
        try:
            yield upstream
        finally:
            asyncio.run_coroutine_threadsafe(upstream.stop(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


async def until(claim: Callable[[], bool], deadline_s: float = 5.0) -> None:
    """Returns when `claim` holds; AssertionError when it does not within the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not claim():
        assert loop.time() < end, "the awaited condition did not come about"
        await asyncio.sleep(0.002)


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: MockUpstream) -> None:
        self._upstream = upstream
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
        if not self._upstream.plain:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._upstream.plain:
            self._body = []
            assert self._transport is not None
            self._transport.write(_PLAIN_STREAM if b'"stream":true' in body else _PLAIN_REPLY)
            return
        call = Call(self._parser.get_method().decode(), self._target.decode(), self._headers, body)
        call.connection = self._number
        self._new_request()
        self._call = call
        self._upstream.calls.append(call)
        reply = self._upstream.next_reply() or Reply()
        self._task = asyncio.get_running_loop().create_task(self._answer(call, reply))

    async def _answer(self, call: Call, reply: Reply) -> None:
        transport = self._transport
        assert transport is not None
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.wire is not None:
            transport.write(reply.wire)
            call.answered = True
            transport.close()
            return
        if reply.body is None and call.method == "POST":
            asked = orjson.loads(call.body)
            if asked.get("stream") and reply.status == 200:
                await self._stream(call, reply, asked, transport)
                return
            body = completion(asked, reply)
        else:
            body = reply.body if reply.body is not None else _MODELS
        head = _head(reply.status, {"content-type": reply.content_type, **reply.headers}, len(body))
        if reply.drop_after is not None:
            transport.write(head + body[: reply.drop_after])
            call.answered = True
            transport.close()
            return
        call.answered = True
        transport.write(head + body)

    async def _stream(self, call: Call, reply: Reply, asked: dict[str, Any], transport: asyncio.Transport) -> None:
        transport.write(_head(reply.status, {"content-type": "text/event-stream", **reply.headers}, None))
        for number, event in enumerate(stream_events(asked, reply)):
            # the first event holds the role, so that N pieces are the first N+1 events
            if reply.stall_after is not None and number > reply.stall_after:
                await asyncio.Event().wait()
            if reply.drop_after is not None and number > reply.drop_after:
                call.answered = True
                transport.close()
                return
            transport.write(_chunk(event))
            if reply.piece_delay_s:
                await asyncio.sleep(reply.piece_delay_s)
        call.answered = True
        transport.write(b"0\r\n\r\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: int, headers: dict[str, str], length: int | None) -> bytes:
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"HTTP/1.1 {status} {'OK' if status == 200 else 'Scripted'}", framing]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_MODELS = orjson.dumps(
    {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": CREATED, "owned_by": "mock"}
            for name in ("mock-small", "mock-large")
        ],
    }
)
_PLAIN_ASKED = {
    "model": "mock-small",
    "messages": [{"role": "user", "content": "What is a stockyard?"}],
    "stream_options": {"include_usage": True},
}
_PLAIN_BODY = completion(_PLAIN_ASKED, Reply(text=PLAIN_TEXT))
_PLAIN_REPLY = _head(200, _JSON, len(_PLAIN_BODY)) + _PLAIN_BODY
_PLAIN_STREAM = (
    _head(200, {"content-type": "text/event-stream"}, None)
    + b"".join(_chunk(event) for event in stream_events(_PLAIN_ASKED, Reply(text=PLAIN_TEXT)))
    + b"0\r\n\r\n"
)


async def _serve(port: int, echo: bool) -> None:
    upstream = MockUpstream(plain=not echo)
    await upstream.start(port)
    print(upstream.url, flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--echo", action="store_true", help="answer `echo: <last user text>` instead of one fixed text")
    options = parser.parse_args()
    try:
        uvloop.run(_serve(options.port, options.echo))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
