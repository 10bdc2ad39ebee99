"""Time limits for many waiting tasks with one timer: setting and lifting one costs a fraction of a loop timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

GRANULARITY_S = 0.02
"""How late a limit may strike."""


class TimeLimit:
    """A moment at which a task is cancelled. `until` is `perf_counter` seconds and may be moved (`inf`: never); `struck` once it was passed."""

    __slots__ = ("struck", "task", "until")

    def __init__(self, task: asyncio.Task[Any] | None, until: float) -> None:
        self.task = task
        self.until = until
        self.struck = False

    def is_cause(self) -> bool:
        """Called on `CancelledError`: whether the limit alone cancelled the task. The cancellation is then taken back."""
        return self.struck and self.task is not None and self.task.uncancel() == 0


class TimeLimits:
    """The limits that run now. While there are any, one timer looks at them every `GRANULARITY_S`; when none, nothing runs."""

    __slots__ = ("_now", "armed", "running")

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self.running: set[TimeLimit] = set()
        """For who adds and removes by itself, on the way of every call: `arm` must follow unless `armed`."""
        self.armed = False
        self._now = now

    def __len__(self) -> int:
        return len(self.running)

    def add(self, limit: TimeLimit) -> None:
        """Let the limit run until `remove`."""
        self.running.add(limit)
        if not self.armed:
            self.arm()

    def remove(self, limit: TimeLimit) -> None:
        """Lift the limit; it strikes no more."""
        self.running.discard(limit)

    def arm(self) -> None:
        """Start the timer."""
        self.armed = True
        asyncio.get_running_loop().call_later(GRANULARITY_S, self._look)

    def _look(self) -> None:
        if not self.running:
            self.armed = False
            return
        asyncio.get_running_loop().call_later(GRANULARITY_S, self._look)
        now = self._now()
        for limit in self.running:
            if now >= limit.until and not limit.struck and limit.task is not None:
                limit.struck = True
                limit.task.cancel()
