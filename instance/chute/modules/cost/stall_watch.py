"""Calls that run are looked at now and then: does anything still move, and for how long do they run already?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange

Strike = Literal["", "stalled", "duration", "caller_stalled"]

LOOK_MIN_S = 0.02
LOOK_MAX_S = 1.0
NS = 1_000_000_000


class Watched:
    """One call. `awaits_provider` is kept up to date by who can end it with an error; `struck` says why it was cancelled."""

    __slots__ = ("awaits_provider", "may_stall", "moved_ns", "seen", "started_ns", "struck", "task", "x")

    def __init__(self, x: Exchange, now_ns: int) -> None:
        self.x = x
        self.task = asyncio.current_task()
        self.awaits_provider = False
        self.may_stall = True
        """Whether silence of the provider ends the call."""
        self.struck: Strike = ""
        self.started_ns = self.moved_ns = now_ns
        self.seen = (0, 0)

    def moved(self, now_ns: int) -> None:
        """Something came from the provider."""
        self.moved_ns = now_ns

    def is_cause(self) -> bool:
        """Called on `CancelledError`: whether the watch alone cancelled the task. The cancellation is then taken back."""
        return bool(self.struck) and self.task is not None and self.task.uncancel() == 0


class StallWatch:
    """The calls that are watched. While there are any, one timer looks at all of them; nothing is done for a byte."""

    __slots__ = ("_armed", "_duration_ns", "_interval_s", "_mono_ns", "_stall_ns", "watched")

    def __init__(self, stall_s: float, duration_s: float, mono_ns: Callable[[], int]) -> None:
        self.watched: dict[str, Watched] = {}
        self._armed = False
        self._stall_ns = round(stall_s * NS)
        self._duration_ns = round(duration_s * NS)
        shortest = min([seconds for seconds in (stall_s, duration_s) if seconds] or [LOOK_MAX_S * 8])
        self._interval_s = max(LOOK_MIN_S, min(LOOK_MAX_S, shortest / 8))
        self._mono_ns = mono_ns

    def add(self, x: Exchange) -> Watched:
        """Watch the call of the running task until `remove`."""
        watched = self.watched[x.id] = Watched(x, self._mono_ns())
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_later(self._interval_s, self._look)
        return watched

    def remove(self, x: Exchange) -> Watched | None:
        """Watch it no more."""
        return self.watched.pop(x.id, None)

    def _look(self) -> None:
        if not self.watched:
            self._armed = False
            return
        asyncio.get_running_loop().call_later(self._interval_s, self._look)
        now = self._mono_ns()
        for watched in self.watched.values():
            if watched.struck or watched.task is None:
                continue
            # Bytes to the caller, or time in which the provider was waited for since: either says that something moved,
            # also where what comes is kept from the caller.
            moved = watched.x.bytes_out, watched.x.upstream_ns
            if moved != watched.seen:
                watched.seen = moved
                watched.moved_ns = now
            reason = self._reason(watched, now)
            if reason:
                watched.struck = reason
                if reason == "caller_stalled":
                    # Who takes nothing is as good as gone; the endpoint then cuts his connection.
                    watched.x.client_gone = True
                    watched.x.state["caller_stalled"] = True
                watched.task.cancel()

    def _reason(self, watched: Watched, now: int) -> Strike:
        if watched.awaits_provider:
            if self._duration_ns and now - watched.started_ns >= self._duration_ns:
                return "duration"
            return (
                "stalled" if self._stall_ns and watched.may_stall and now - watched.moved_ns >= self._stall_ns else ""
            )
        # Nobody waits for the provider: bytes were given to the caller, and he takes none.
        idle = self._stall_ns and watched.seen[0] and now - watched.moved_ns >= self._stall_ns
        return "caller_stalled" if idle else ""
