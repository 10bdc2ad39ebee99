"""The sessions as calls use them: those in use in memory, bounded, every change written down within a second."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from instance.memory import store
from instance.memory.session import Session

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.core.writer import LedgerEvent

HOT_MAX = 5_000
HOT_MAX_BYTES = 24 << 20
"""Sessions that wait in memory for their next call, and about how large they may be together."""


class SessionTable:
    """`core.services["memory"]`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._hot: OrderedDict[bytes, Session] = OrderedDict()
        self._sizes: dict[bytes, int] = {}
        self._size = 0
        self._changed: dict[bytes, Session] = {}
        self._flushing = asyncio.Lock()

    async def find(self, identity: bytes) -> Session | None:
        """The session, unless its time is over."""
        session = self._hot.get(identity) or self._changed.get(identity)
        if session is None:
            loaded = await self._core.database.read(lambda connection: store.load(connection, "identity", identity))
            session = self._hot.get(identity) or self._changed.get(identity) or loaded
        if session is None or session.over(self._core.clock.wall_ns()):
            return None
        self._keep(session)
        return session

    def held(self, identity: bytes) -> Session | None:
        """The session if it is in memory: one that another call made while this one ran, say."""
        session = self._hot.get(identity) or self._changed.get(identity)
        return None if session is None or session.over(self._core.clock.wall_ns()) else session

    def put(self, session: Session) -> None:
        """Hold a session that was made or changed; it is written with the next `flush`."""
        self._changed[session.identity] = session
        self._keep(session)

    def _keep(self, session: Session) -> None:
        hot, sizes = self._hot, self._sizes
        hot[session.identity] = session
        hot.move_to_end(session.identity)
        self._size += session.size - sizes.get(session.identity, 0)
        sizes[session.identity] = session.size
        while len(hot) > HOT_MAX or (len(hot) > 1 and self._size > HOT_MAX_BYTES):
            self._drop(next(iter(hot)))

    def _drop(self, identity: bytes) -> None:
        self._hot.pop(identity, None)
        self._size -= self._sizes.pop(identity, 0)

    async def flush(self, most: int = 0) -> None:
        """Write down what changed, and forget sessions beyond `most` (0: all stay)."""
        if not self._changed:
            return
        async with self._flushing:
            taken = list(self._changed.values())
            work = [(session, session.turns[session.clean :], session.clean) for session in taken]
            for session in taken:
                session.clean = len(session.turns)
            self._changed = {}

            def write(connection: sqlite3.Connection) -> list[tuple[bytes, int]]:
                for session, turns, clean in work:
                    store.save(connection, session, turns, clean)
                return store.remove_beyond(connection, most) if most else []

            try:
                removed = await self._core.writer.write(write)
            except BaseException:
                for session, _, clean in work:
                    session.clean = min(session.clean, clean)
                    self._changed.setdefault(session.identity, session)
                raise
            self._forget(identity for identity, _ in removed)

    async def expire(self) -> None:
        """Delete the sessions whose time is over."""
        await self.flush()
        await self.remove("pinned = 0 AND expires_at_ns <= ?", (self._core.clock.wall_ns(),))

    async def remove(self, where: str, values: tuple[Any, ...], events: Iterable[LedgerEvent] = ()) -> tuple[int, int]:
        """Delete sessions; how many, and how many messages they had."""
        await self.flush()
        removed = await self._core.writer.write(
            lambda connection: store.remove(connection, where, values), list(events)
        )
        self._forget(identity for identity, _ in removed)
        return len(removed), sum(messages for _, messages in removed)

    def _forget(self, identities: Iterable[bytes]) -> None:
        for identity in identities:
            self._drop(identity)
            self._changed.pop(identity, None)
