"""What is watched while a call runs: that the caller is still there, and that a silent stream is kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter_ns
from typing import Any

from instance.chute.exchange import Exchange

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WATCH_AFTER_NS = 50_000_000
"""A caller's hang-up is looked for once a call lasts this long, which keeps it within 100 ms; shorter calls, also those of a
busy instance, are over before it would matter, and a task or a timer for each of them would be a part of their cost."""
LOOK_S = 0.02
HANG_LOOK_S = 0.25
"""How late it may be noticed that a module hangs."""
KEEP_ALIVE_S = 15.0
KEEP_ALIVE = b": keep-alive\n\n"


class Watch:
    """Looks for the caller's hang-up while the call runs, and cancels the call then."""

    __slots__ = ("_receive", "_watcher", "over", "task", "x")

    def __init__(self, x: Exchange, receive: Receive) -> None:
        self.x = x
        self.task: asyncio.Task[Any] | None = None
        self.over = False
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look from now on."""
        if self._watcher is None and not self.over:
            self._watcher = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.x.client_gone = True
        if self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        """What still comes on the connection does not concern the call any more."""
        self.over = True
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None


class Watches:
    """The watches of all calls that run. While there are any, one timer begins those of calls that last long enough, and another
    looks for a module that hangs in one of these."""

    __slots__ = ("_armed", "_begun", "_hang_armed", "_loop", "_waiting")

    def __init__(self) -> None:
        self._waiting: set[Watch] = set()
        self._begun: set[Watch] = set()
        self._armed = False
        self._hang_armed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, watch: Watch) -> None:
        """Called by the call's own task once its body was read."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        watch.task = watch.x.task or asyncio.current_task(loop)
        self._waiting.add(watch)
        if not self._armed:
            self._armed = True
            loop.call_later(LOOK_S, self._look)

    def discard(self, watch: Watch) -> None:
        """The call is over."""
        self._waiting.discard(watch)
        self._begun.discard(watch)

    def _look(self) -> None:
        if not self._waiting:
            self._armed = False
            return
        assert self._loop is not None
        self._loop.call_later(LOOK_S, self._look)
        latest = perf_counter_ns() - WATCH_AFTER_NS
        for watch in [watch for watch in self._waiting if watch.x.started_ns < latest]:
            self._waiting.discard(watch)
            self._begun.add(watch)
            watch.begin()
        if self._begun and not self._hang_armed:
            self._hang_armed = True
            self._loop.call_later(HANG_LOOK_S, self._look_for_hanging)

    def _look_for_hanging(self) -> None:
        """Cancel the calls in which a module waits for longer than it may; the chain takes it for the module's failure."""
        if not self._begun:
            self._hang_armed = False
            return
        assert self._loop is not None
        self._loop.call_later(HANG_LOOK_S, self._look_for_hanging)
        now = perf_counter_ns()
        for watch in self._begun:
            x = watch.x
            link = x.running
            if link is None or x.hung is not None or watch.task is None:
                continue
            if now - max(x.running_since_ns, x.mark_ns) >= link.hang_ns:
                x.hung = link
                watch.task.cancel()


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
