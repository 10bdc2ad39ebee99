"""The mock upstream's server: what it was asked, what it shall answer, where it listens."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop

from instance.core.clock import Clock
from instance.mock_upstream.bounded import Bounded
from instance.mock_upstream.connection import Connection
from instance.mock_upstream.exchange import Call, Request, Response
from instance.mock_upstream.plain import plain_replies
from instance.mock_upstream.replies import Failure, Reply

_log = logging.getLogger(__name__)

CALLS_KEPT = 10_000
SCRIPT_MAX_REPLIES = 100_000
ACCESS_KEY_ID = "AKIDEXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@dataclass(slots=True)
class MockUpstream:
    """The server. `url` is the base URL of OpenAI's dialect; `at(name)` gives the others'."""

    tls: ssl.SSLContext | None = None
    plain: bool = False
    """One fixed answer, nothing recorded: for benchmarks."""
    strict: bool = True
    """Calls without a key, and bodies that the provider's schema refuses, are answered as the provider would."""
    clock: Clock = field(default_factory=Clock)
    """Paces delays and what takes its time."""
    host: str = "127.0.0.1"
    aws_keys: dict[str, str] = field(default_factory=lambda: {ACCESS_KEY_ID: SECRET_ACCESS_KEY})
    """Secret by id, for signatures on Bedrock's paths."""
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))
    port: int = 0
    connections: int = 0
    """Connections accepted so far."""
    open_connections: set[Connection] = field(default_factory=set)
    plain_replies: tuple[bytes, bytes] | None = None
    _stores: dict[str, Bounded[Any]] = field(default_factory=dict)
    _replies: deque[Reply] = field(default_factory=deque)
    _replies_by_path: dict[str, deque[Reply]] = field(default_factory=dict)
    _numbers: int = 0
    _server: asyncio.Server | None = None

    def __post_init__(self) -> None:
        if self.plain:
            self.plain_replies = plain_replies()

    @property
    def root(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def at(self, dialect: str) -> str:
        """The base URL that a provider of this dialect has."""
        from instance.mock_upstream.dialects import by_name

        return self.root + by_name(dialect).base_url_tail

    def script(self, *replies: Reply, path: str | None = None) -> None:
        """Queues answers: one is used for each call, in order; with `path`, for calls whose path holds it."""
        queue = self._replies if path is None else self._replies_by_path.setdefault(path, deque())
        if len(queue) + len(replies) > SCRIPT_MAX_REPLIES:
            raise ValueError(f"a script has at most {SCRIPT_MAX_REPLIES} replies")
        queue.extend(replies)

    def store(self, name: str, limit: int) -> Bounded[Any]:
        """What a dialect remembers between calls under this name, at most `limit` entries."""
        if name not in self._stores:
            self._stores[name] = Bounded(limit)
        return self._stores[name]

    def forget_script(self) -> None:
        """Replies that are still queued are not given."""
        self._replies.clear()
        self._replies_by_path.clear()

    def next_reply(self, call: Call) -> Reply:
        for path, queue in self._replies_by_path.items():
            if path in call.path and queue:
                return queue.popleft()
        if not self._replies:
            return Reply()
        from instance.mock_upstream.dialects import by_path

        dialect, path = by_path(call.path)
        return self._replies.popleft() if dialect.takes_script(call.method, path) else Reply()

    def respond(self, call: Call, reply: Reply) -> Response:
        """The answer of the dialect whose path was called."""
        from instance.mock_upstream.dialects import by_path

        dialect, path = by_path(call.path)
        self._numbers += 1
        request = Request(call, path, {}, reply, self, number=self._numbers)
        try:
            return dialect.respond(request, self.strict)
        except Exception as error:
            # a caller that waits for an answer must get one; the fault is the mock's, or that of a body it did not check
            _log.exception("the mock failed at %s %s", call.method, call.path)
            return dialect.failure(Failure(500, f"the mock itself failed: {error!r}"), request)

    async def start(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), self.host, port, ssl=self.tls, backlog=1024, reuse_address=True
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

    async def __aenter__(self) -> MockUpstream:
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
    def in_thread(cls, **options: Any) -> Iterator[MockUpstream]:
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


async def until(claim: Callable[[], bool], deadline_s: float = 15.0) -> None:
    """Returns when `claim` holds; AssertionError when it does not within the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not claim():
        assert loop.time() < end, "the awaited condition did not come about"
        await asyncio.sleep(0.002)
