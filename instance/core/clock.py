"""Time, as everything here reads it: replaceable, so that tests turn it by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from time import perf_counter_ns, time_ns

NS_PER_S = 1_000_000_000


class Clock:
    """The machine's time: `wall_ns` is UTC since 1970, `mono_ns` only grows and has no meaning by itself."""

    __slots__ = ()

    wall_ns: Callable[[], int] = staticmethod(time_ns)
    mono_ns: Callable[[], int] = staticmethod(perf_counter_ns)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)


class FakeClock(Clock):
    """Stands still until `advance`; sleepers wake in the order of their times."""

    __slots__ = ("_mono", "_order", "_sleepers", "_wall")

    def __init__(self, wall_ns: int = 1_767_225_600 * NS_PER_S) -> None:
        self._wall = wall_ns
        self._mono = NS_PER_S
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    def wall_ns(self) -> int:
        return self._wall

    def mono_ns(self) -> int:
        return self._mono

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was advanced by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        until = self._mono + round(seconds * NS_PER_S)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (until, next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move both clocks on and wake who slept until then."""
        end = self._mono + round(seconds * NS_PER_S)
        while self._sleepers and self._sleepers[0][0] <= end:
            until, _, future = heapq.heappop(self._sleepers)
            self._move(until)
            if not future.done():
                future.set_result(None)
        self._move(end)

    def set_wall(self, wall_ns: int) -> None:
        """Let the wall clock jump; the monotonic one does not."""
        self._wall = wall_ns

    def _move(self, mono: int) -> None:
        self._wall += mono - self._mono
        self._mono = mono
