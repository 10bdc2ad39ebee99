"""The caller's side of a held call: its body as it arrives, bounded, and the moment it hangs up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from control_plane.routing.held import HeldCalls

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

AHEAD_BYTES = 256 * 1024  # of a body are read before the instance is awake to take it


class CallerLeft(Exception):
    """The caller hung up."""


class Caller:
    """Reads ahead so that a hang-up is seen while the call waits for its instance; `left` is set by one.

    `held` bounds what all callers together have sent ahead: beyond it each is read only to its first block.
    """

    def __init__(self, receive: Receive, held: HeldCalls) -> None:
        self._receive = receive
        self._held = held
        self._blocks: deque[bytes] = deque()
        self._ahead = 0
        self._whole = False
        self._changed = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        self.left = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        self._count(-self._ahead)

    async def body(self) -> AsyncIterator[bytes]:
        """The body, block by block, once. Raises `CallerLeft` if it will never be whole."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._blocks or self._whole or self.left.is_set())
                blocks, self._blocks = self._blocks, deque()
                self._count(-self._ahead)
                whole, left = self._whole, self.left.is_set()
                self._changed.notify_all()
            for block in blocks:
                yield block
            if whole:
                return
            if left:
                raise CallerLeft

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            async with self._changed:
                if message["type"] == "http.disconnect":
                    self.left.set()
                else:
                    if block := message.get("body", b""):
                        self._blocks.append(block)
                        self._count(len(block))
                    self._whole = not message.get("more_body", False)
                self._changed.notify_all()
                if self.left.is_set():
                    return
                await self._changed.wait_for(self._may_read_on)

    def _may_read_on(self) -> bool:
        return self._ahead == 0 or (self._ahead < AHEAD_BYTES and self._held.may_read_ahead())

    def _count(self, size: int) -> None:
        self._ahead += size
        self._held.body_bytes += size
