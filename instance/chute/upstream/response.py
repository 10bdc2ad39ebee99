"""One answer as its reader sees it: status and headers at once, the body in blocks."""

import asyncio
from typing import Protocol

from instance.chute.upstream.decode import Decoder
from instance.chute.upstream.errors import UpstreamError


class Source(Protocol):
    """What the body comes from: the connection, as far as the response needs it."""

    loop: asyncio.AbstractEventLoop

    def resume_reading(self) -> None: ...
    def abort(self) -> None: ...


class UpstreamResponse:
    """An answer whose head is in.

    `headers` has lower-case names; repeated headers are joined with `, `. Read the body with `read` or with
    `next_block`, one reader at a time, and `close` it unless it was read to its end.
    """

    __slots__ = ("_blocks", "_complete", "_decoder", "_error", "_source", "_waiter", "buffered", "headers", "status")

    def __init__(self, source: Source) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.buffered = 0
        """Bytes that came and were not taken by the reader yet."""
        self._source = source
        self._blocks: list[bytes] = []
        self._complete = False
        self._decoder: Decoder | None = None
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def read(self, limit: int) -> bytes:
        """The whole decoded body. Does not suspend when all of it is already here.

        Raises UpstreamError: too_large beyond `limit` bytes, truncated, bad_response.
        """
        if self._complete and self._decoder is None:
            body = self._take()
            if len(body) > limit:
                raise _beyond(limit)
            return body
        announced = self.headers.get(b"content-length", b"")
        if self._decoder is None and announced.isdigit() and int(announced) > limit:
            self.close()
            raise _beyond(limit)
        blocks: list[bytes] = []
        size = 0
        while block := await self.next_block():
            size += len(block)
            if size > limit:
                self.close()
                raise _beyond(limit)
            blocks.append(block)
        return b"".join(blocks)

    async def next_block(self) -> bytes:
        """The next decoded bytes as soon as any are here; empty at the end of the body.

        Raises UpstreamError(truncated) when the connection broke first; what came before it is given out first.
        """
        try:
            while True:
                if self._decoder is None:
                    if self._blocks:
                        return self._take()
                elif block := self._decode(self._decoder):
                    return block
                if self._error is not None:
                    raise self._error
                if self._complete:
                    self._check_decoded_end()
                    return b""
                await self.changed()
        except UpstreamError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection at once unless the answer was complete. May be called any number of times."""
        if self._complete:
            return
        if self._error is None:
            self._error = UpstreamError("truncated", "the answer was closed by its reader", sent=True)
        self._source.abort()
        self.wake()

    def _take(self) -> bytes:
        blocks = self._blocks
        body = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        blocks.clear()
        self.buffered = 0
        if not self._complete:
            self._source.resume_reading()
        return body

    def _decode(self, decoder: Decoder) -> bytes:
        block = decoder.pull()
        if not block and self._blocks:
            decoder.push(self._take())
            block = decoder.pull()
        return block

    def _check_decoded_end(self) -> None:
        if self._decoder is not None and not self._decoder.at_end:
            raise UpstreamError("truncated", "the compressed body ended early", sent=True)

    # What follows is called by the connection.

    async def changed(self) -> None:
        """Returns when something came or broke. A cancelled wait closes the connection."""
        waiter = self._waiter = self._source.loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def begin(self, status: int, headers: dict[bytes, bytes], decoder: Decoder | None) -> None:
        self.headers = headers
        self._decoder = decoder
        self.status = status

    def add(self, block: bytes) -> int:
        """Bytes now waiting for the reader."""
        self._blocks.append(block)
        self.buffered += len(block)
        return self.buffered

    def complete(self) -> None:
        self._complete = True

    def fail(self, error: UpstreamError) -> None:
        if self._error is None and not self._complete:
            self._error = error
        self.wake()

    async def head(self) -> None:
        """Returns when the head is in; raises the UpstreamError that came instead."""
        while self.status == 0:
            if self._error is not None:
                raise self._error
            # As `changed()`, without a frame of its own: every call waits here.
            waiter = self._waiter = self._source.loop.create_future()
            try:
                await waiter
            except asyncio.CancelledError:
                self.close()
                raise
            finally:
                self._waiter = None


def _beyond(limit: int) -> UpstreamError:
    return UpstreamError("too_large", f"the answer's body is larger than {limit} bytes", sent=True)
