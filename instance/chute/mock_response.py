"""An answer of the built-in mock model, in place of one that arrives from the network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from instance.chute.upstream import UpstreamError

if TYPE_CHECKING:
    from instance.core.clock import Clock


class MockResponse:
    """What a call to the mock model gives: the interface of `UpstreamResponse`, without a socket."""

    __slots__ = ("_blocks", "_clock", "_closed", "_due_ns", "_gap_ns", "headers", "status")

    def __init__(
        self, status: int, headers: dict[bytes, bytes], blocks: Iterator[bytes], clock: Clock, gap_ns: int = 0
    ) -> None:
        self.status = status
        self.headers = headers
        self._blocks = blocks
        self._clock = clock
        self._gap_ns = gap_ns
        self._due_ns = clock.mono_ns() if gap_ns else 0
        self._closed = False

    async def read(self, limit: int) -> bytes:
        """The whole body; raises UpstreamError(too_large) beyond `limit` bytes, truncated when told to drop."""
        body = b"".join([block async for block in self])
        if len(body) > limit:
            raise UpstreamError("too_large", f"the answer's body is larger than {limit} bytes", sent=True)
        return body

    async def next_block(self) -> bytes:
        """The next bytes when they are due; empty at the end."""
        if self._closed:
            raise UpstreamError("truncated", "the answer was closed by its reader", sent=True)
        if self._gap_ns:
            self._due_ns += self._gap_ns
            wait_ns = self._due_ns - self._clock.mono_ns()
            if wait_ns > 0:
                await self._clock.sleep(wait_ns / 1e9)
        return next(self._blocks, b"")

    def __aiter__(self) -> MockResponse:
        return self

    async def __anext__(self) -> bytes:
        block = await self.next_block()
        if not block:
            raise StopAsyncIteration
        return block

    def close(self) -> None:
        self._closed = True
