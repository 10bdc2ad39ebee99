"""What is watched while a call runs: that the caller is still there, and that a silent stream is kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from instance.chute.exchange import Exchange

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WATCH_AFTER_S = 0.06
"""A caller's hang-up is looked for once a call lasts this long, which keeps it within 100 ms; shorter calls, also those of a
busy instance, are over before it would matter, and a task for each of them would be a fifth of their cost."""
KEEP_ALIVE_S = 15.0
KEEP_ALIVE = b": keep-alive\n\n"


class Watch:
    """Looks for the caller's hang-up while the call runs, and cancels the call then."""

    __slots__ = ("_handle", "_receive", "_task", "_watcher", "_x")

    def __init__(self, x: Exchange, receive: Receive) -> None:
        self._x = x
        self._receive = receive
        self._handle: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(loop)
        self._handle = loop.call_later(WATCH_AFTER_S, self._start)

    def _start(self) -> None:
        self._handle = None
        self._watcher = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._x.client_gone = True
        if self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None


class KeepAlive:
    """Sends a comment on a stream after each `KEEP_ALIVE_S` of silence, so that nothing between cuts it."""

    __slots__ = ("_handle", "_last", "_loop", "_send", "_task")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._task: asyncio.Task[None] | None = None
        self._handle: asyncio.TimerHandle | None = self._loop.call_later(KEEP_ALIVE_S, self._check)

    def touched(self) -> None:
        self._last = self._loop.time()

    def _check(self) -> None:
        silent = self._loop.time() - self._last
        if silent >= KEEP_ALIVE_S:
            self._last = self._loop.time()
            silent = 0.0
            self._task = self._loop.create_task(self._comment())
        self._handle = self._loop.call_later(KEEP_ALIVE_S - silent, self._check)

    async def _comment(self) -> None:
        await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})

    def end(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
