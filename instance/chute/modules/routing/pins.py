"""Which target each session is pinned to: in memory, bounded, and in the database behind it."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable
from sys import intern
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance.core.core import Core

WRITE_AT_ONCE = 5000
"""Rows of one write."""
REFRESHED_SHARE = 10
"""A pin that was only used again is written when a tenth of its time to live has passed since it was last written."""


class Pin:
    """Where a session stays: a target's label, and the name of the key that served it. `used_ns` is the wall time of the last
    use, `written_ns` that of the use that the database knows of (0: none)."""

    __slots__ = ("key_name", "target", "used_ns", "written_ns")

    def __init__(self, target: str, key_name: str, used_ns: int, written_ns: int = 0) -> None:
        self.target = target
        self.key_name = key_name
        self.used_ns = used_ns
        self.written_ns = written_ns


class Pins:
    """Pins by session (16 bytes of a digest), the least recently used forgotten beyond `max_sessions`."""

    def __init__(self, core: Core, max_sessions: int, ttl_ns: int, *, persist: bool) -> None:
        self._core = core
        self.by_session: OrderedDict[bytes, Pin] = OrderedDict()
        self._changed: set[bytes] = set()
        self.limit(max_sessions, ttl_ns, persist=persist)

    def limit(self, max_sessions: int, ttl_ns: int, *, persist: bool) -> None:
        """Use other limits from now on."""
        self._max = max_sessions
        self._ttl_ns = ttl_ns
        self._refresh_ns = ttl_ns // REFRESHED_SHARE
        self._persist = persist
        while len(self.by_session) > max_sessions:
            self.by_session.popitem(last=False)

    def __len__(self) -> int:
        return len(self.by_session)

    async def open(self) -> None:
        """Take what the database holds, when pins are kept there."""
        if not self._persist:
            return
        since = self._core.clock.wall_ns() - self._ttl_ns

        def read(connection: sqlite3.Connection) -> list[tuple[bytes, str, str, int]]:
            query = (
                "SELECT session, target, key_name, used_at_ns FROM pinned_sessions WHERE used_at_ns > ? "
                "ORDER BY used_at_ns DESC LIMIT ?"
            )
            return connection.execute(query, (since, self._max)).fetchall()

        for session, target, key_name, used_ns in reversed(await self._core.database.read(read)):
            self.by_session[session] = Pin(intern(target), intern(key_name), used_ns, used_ns)

    def is_over(self, pin: Pin, now_ns: int) -> bool:
        """Whether the pin was used too long ago to hold."""
        return pin.used_ns + self._ttl_ns <= now_ns

    def put(self, session: bytes, target: str, key_name: str, now_ns: int) -> None:
        """Pin the session, or say that its pin was used. The names are kept as they are: the caller's are shared by many."""
        pins = self.by_session
        pin = pins.get(session)
        if pin is None:
            pins[session] = Pin(target, key_name, now_ns)
            if self._persist:
                self._changed.add(session)
            if len(pins) > self._max:
                gone, _ = pins.popitem(last=False)
                self._changed.discard(gone)
            return
        pins.move_to_end(session)
        pin.used_ns = now_ns
        if pin.target != target or pin.key_name != key_name:
            pin.target, pin.key_name = target, key_name
        elif now_ns - pin.written_ns < self._refresh_ns:
            return
        if self._persist:
            self._changed.add(session)

    async def flush(self) -> None:
        """Write down what changed."""
        while self._changed:
            taken = [self._changed.pop() for _ in range(min(WRITE_AT_ONCE, len(self._changed)))]
            rows = []
            for session in taken:
                pin = self.by_session.get(session)
                if pin is not None:
                    rows.append((session, pin.target, pin.key_name, pin.used_ns))
                    pin.written_ns = pin.used_ns
            await self._write(rows)

    async def _write(self, rows: Iterable[tuple[bytes, str, str, int]]) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO pinned_sessions (session, target, key_name, used_at_ns) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (session) DO UPDATE SET target = excluded.target, key_name = excluded.key_name, "
                "used_at_ns = excluded.used_at_ns",
                rows,
            )

        await self._core.writer.write(write)

    async def expire(self) -> None:
        """Forget pins whose time is over, and in the database those beyond the limit."""
        now_ns = self._core.clock.wall_ns()
        while self.by_session:
            session, pin = next(iter(self.by_session.items()))
            if pin.used_ns + self._ttl_ns > now_ns:
                break
            del self.by_session[session]
            self._changed.discard(session)
        if not self._persist:
            return
        until, most = now_ns - self._ttl_ns, self._max

        def remove(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM pinned_sessions WHERE used_at_ns <= ?", (until,))
            connection.execute(
                "DELETE FROM pinned_sessions WHERE used_at_ns < (SELECT used_at_ns FROM pinned_sessions "
                "ORDER BY used_at_ns DESC LIMIT 1 OFFSET ?)",
                (most,),
            )

        await self._core.writer.write(remove)
