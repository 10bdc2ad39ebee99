"""The streams that run now, by key: a key that is revoked or expires ends its own, with an error event in their dialect.

A stream is entered when it begins and taken out when it ends; between the two nothing is asked. One timer stands for the
soonest expiry among the keys that have streams, however many those are.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from instance.core.clock import NS_PER_S
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.clock import Clock
    from instance.core.principals import KeyTable

ENDED = "ended_by"
"""Where a stream's exchange holds the error that ended it."""
LOOK_MOST_S = 60.0
"""The wall clock, by which keys expire, may be set: it is looked at again after so long at the latest."""


class RunningStreams:
    """Used by the event loop's thread alone."""

    __slots__ = ("_by_digest", "_clock", "_keys", "_look_at_ns", "_timer")

    def __init__(self, keys: KeyTable, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._by_digest: dict[bytes, dict[str, tuple[Exchange, asyncio.Task[object]]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._look_at_ns = 0
        keys.replaced.append(self.look)

    def begin(self, x: Exchange) -> None:
        """Enter a stream, whose task is the present one; raises `key_revoked` or `key_expired` when its key died meanwhile."""
        principal = x.principal
        task = asyncio.current_task()
        if principal is None or not principal.digest or task is None:
            return
        problem = self._problem(principal.digest)
        if problem is not None:
            raise problem
        self._by_digest.setdefault(principal.digest, {})[x.id] = (x, task)
        if principal.expires_at_ns:
            self._arm(principal.expires_at_ns)

    def end(self, x: Exchange) -> None:
        """The stream is over; from now on nobody ends it."""
        digest = x.principal.digest if x.principal is not None else b""
        mine = self._by_digest.get(digest)
        if mine is not None and mine.pop(x.id, None) is not None and not mine:
            del self._by_digest[digest]

    def look(self) -> None:
        """End the streams of keys that are no longer valid, and say when to look again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for digest in list(self._by_digest):
            problem = self._problem(digest)
            if problem is not None:
                self._end(digest, problem)
                continue
            principal = self._keys.find(digest)
            if principal is not None and principal.expires_at_ns:
                self._arm(principal.expires_at_ns)

    def end_all(self, error: StockyardError) -> None:
        """End every stream with this error."""
        for digest in list(self._by_digest):
            self._end(digest, error)

    def _problem(self, digest: bytes) -> StockyardError | None:
        principal = self._keys.find(digest)
        if principal is None or principal.revoked:
            return StockyardError("key_revoked", "The key of this stream was revoked.")
        if principal.expires_at_ns and self._clock.wall_ns() >= principal.expires_at_ns:
            return StockyardError("key_expired", "The key of this stream has expired.")
        return None

    def _end(self, digest: bytes, error: StockyardError) -> None:
        for x, task in self._by_digest.pop(digest).values():
            x.state[ENDED] = error
            task.cancel()

    def _arm(self, at_ns: int) -> None:
        """Look when the wall clock says so, unless that is to be done earlier."""
        if self._timer is not None:
            if self._look_at_ns <= at_ns:
                return
            self._timer.cancel()
        self._look_at_ns = at_ns
        left_s = (at_ns - self._clock.wall_ns()) / NS_PER_S
        self._timer = asyncio.get_running_loop().call_later(max(0.0, min(left_s, LOOK_MOST_S)), self.look)
