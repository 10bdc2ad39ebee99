"""The lease on keys of plans that want one: an instance that hears nothing from its control plane for so long refuses keys.

The control plane renews it at each look; that is kept in memory, and written down only once half of it was used up since it
was last written, so that a restart starts from an end that is at most so much too early. Both clocks must agree that it has
not run out: one that was set back extends nothing, and a nap does not stop the time.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from instance.core.clock import NS_PER_S
from instance.core.errors import StockyardError
from instance.core.principals import NEVER_NS

if TYPE_CHECKING:
    from instance.core.core import Core

log = logging.getLogger("stockyard.control")


class KeyLease:
    """Used by the event loop's thread alone. `ended` is called when it runs out while the instance runs."""

    def __init__(self, core: Core, ended: Callable[[], None]) -> None:
        self._core = core
        self._ended = ended
        self._demanded = False
        self._ends_wall_ns = 0
        self._ends_mono_ns = 0
        self._stored_end_ns = 0
        self._watch: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Take up what was written down before the restart; nothing, if the wall clock was set back since."""
        row = await self._core.database.read(
            lambda connection: connection.execute("SELECT renewed_at_ns, ends_at_ns FROM key_lease").fetchone()
        )
        now = self._core.clock.wall_ns()
        if row is not None and row[0] <= now < row[1]:
            self._stored_end_ns = row[1]
            self._set(row[1] - now)

    def demand(self, lease_s: int) -> None:
        """From now on keys need the lease, which ends `lease_s` from now at the latest; 0: they need none."""
        self._demanded = lease_s > 0
        if self._demanded and self._left_ns() > lease_s * NS_PER_S:
            self._set(lease_s * NS_PER_S)
        self._hold()

    async def renew(self, lease_s: float) -> None:
        """Keys are good for `lease_s` from now; a shorter time than is left changes nothing."""
        length_ns = round(lease_s * NS_PER_S)
        if length_ns <= self._left_ns():
            return
        self._set(length_ns)
        self._hold()
        if self._ends_wall_ns - self._stored_end_ns > length_ns // 2:
            now, end = self._core.clock.wall_ns(), self._ends_wall_ns
            try:
                await self._core.writer.write(lambda connection: _store(connection, now, end))
                self._stored_end_ns = end
            except StockyardError as problem:  # a full disk: it holds in memory, and is tried again
                log.warning("the lease on keys could not be written down: %s", problem.message)

    def left_s(self) -> float | None:
        """Seconds until it runs out, 0 when it has; None when keys need none."""
        return max(0, self._left_ns()) / NS_PER_S if self._demanded else None

    async def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None

    def _left_ns(self) -> int:
        clock = self._core.clock
        return min(self._ends_wall_ns - clock.wall_ns(), self._ends_mono_ns - clock.mono_ns())

    def _set(self, length_ns: int) -> None:
        clock = self._core.clock
        self._ends_wall_ns = clock.wall_ns() + length_ns
        self._ends_mono_ns = clock.mono_ns() + length_ns

    def _hold(self) -> None:
        """Say to the table of keys what holds now, and watch for the end of it."""
        held = self._left_ns() > 0
        if not self._demanded:
            self._core.keys.lease_ends_ns = NEVER_NS
            return  # a watch that still sleeps sees that it is not wanted
        self._core.keys.lease_ends_ns = self._ends_wall_ns if held else 0
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.create_task(self._until_it_ends()) if held else None

    async def _until_it_ends(self) -> None:
        """Sleep until the lease as it then is has run out; the wall clock is asked by whoever looks a key up."""
        while self._demanded and (left := self._left_ns()) > 0:
            await self._core.clock.sleep(left / NS_PER_S)
        if self._demanded:
            self._core.keys.lease_ends_ns = 0
            self._ended()


def _store(connection: sqlite3.Connection, renewed_at_ns: int, ends_at_ns: int) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO key_lease (id, renewed_at_ns, ends_at_ns) VALUES (1, ?, ?)",
        (renewed_at_ns, ends_at_ns),
    )
