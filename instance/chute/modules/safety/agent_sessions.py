"""All agents' sessions: in memory, bounded, and in the database behind it, so that a stop outlives a restart."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.modules.safety.agent_session import AgentSession

if TYPE_CHECKING:
    from instance.core.core import Core

SESSIONS_MAX = 20_000
SPARED = 64
"""Of the sessions that were used least recently, how many are looked through for one that is not stopped."""
WRITE_AT_ONCE = 2000


def session_id(key: str, name: str) -> str:
    """The digest of a session: one key's sessions are not another's, whatever they are called."""
    return blake2b(f"{key}\0{name}".encode("utf-8", "replace"), digest_size=8).hexdigest()


class AgentSessions:
    """Sessions by id, the least recently used first; one that rested for `reset_ns` begins anew."""

    def __init__(self, core: Core, reset_ns: int) -> None:
        self._core = core
        self._sessions: OrderedDict[str, AgentSession] = OrderedDict()
        self._changed: set[str] = set()
        self.reset_ns = reset_ns

    def __len__(self) -> int:
        return len(self._sessions)

    async def open(self) -> None:
        """Take what the database holds of sessions that still count."""
        since = self._core.clock.wall_ns() - self.reset_ns

        def read(connection: sqlite3.Connection) -> list[tuple[str]]:
            query = "SELECT state FROM agent_sessions WHERE used_at_ns > ? ORDER BY used_at_ns DESC LIMIT ?"
            return connection.execute(query, (since, SESSIONS_MAX)).fetchall()

        for (state,) in reversed(await self._core.database.read(read)):
            session = AgentSession(**orjson.loads(state))
            self._sessions[session.id] = session

    def get(self, found: str) -> AgentSession | None:
        return self._sessions.get(found)

    def of(self, key: str, team: str, name: str, now_ns: int) -> AgentSession:
        """The session that a call belongs to, as it is now."""
        found = session_id(key, name)
        session = self._sessions.get(found)
        if session is None or now_ns - session.used_ns >= self.reset_ns:
            if session is None and len(self._sessions) >= SESSIONS_MAX:
                self._make_room()
            session = self._sessions[found] = AgentSession(found, name, key, team, now_ns, now_ns)
        return session

    def peek(self, key: str, team: str, name: str, now_ns: int) -> AgentSession:
        """As `of`, and nothing is remembered of it."""
        session = self._sessions.get(session_id(key, name))
        if session is None or now_ns - session.used_ns >= self.reset_ns:
            return AgentSession(session_id(key, name), name, key, team, now_ns, now_ns)
        return session

    def touch(self, session: AgentSession, now_ns: int) -> None:
        """Say that it was used or changed."""
        session.used_ns = now_ns
        if session.id in self._sessions:
            self._sessions.move_to_end(session.id)
            self._changed.add(session.id)

    def reset(self, found: str) -> bool:
        """Forget all that a session has used; whether there was one."""
        gone = self._sessions.pop(found, None)
        self._changed.add(found)
        return gone is not None

    def rows(self, *, stopped: bool | None = None) -> list[dict[str, Any]]:
        """The sessions that still count, the latest first."""
        since = self._core.clock.wall_ns() - self.reset_ns
        return [
            session.row()
            for session in reversed(self._sessions.values())
            if session.used_ns > since and stopped in (None, bool(session.stopped))
        ]

    def _make_room(self) -> None:
        oldest = [session for _, session in zip(range(SPARED), self._sessions.values(), strict=False)]
        gone = next((session for session in oldest if not session.stopped), oldest[0])
        del self._sessions[gone.id]
        self._changed.add(gone.id)

    async def flush(self) -> None:
        """Write down what changed."""
        while self._changed:
            taken = [self._changed.pop() for _ in range(min(WRITE_AT_ONCE, len(self._changed)))]
            kept = [session for each in taken if (session := self._sessions.get(each)) is not None]
            rows = [(session.id, session.used_ns, orjson.dumps(session.stored()).decode()) for session in kept]
            gone = [(each,) for each in taken if each not in self._sessions]
            await self._core.writer.write(partial(_write, rows=rows, gone=gone))

    async def expire(self) -> None:
        """Forget sessions that rested long enough to begin anew."""
        until = self._core.clock.wall_ns() - self.reset_ns
        while self._sessions:
            found, session = next(iter(self._sessions.items()))
            if session.used_ns > until:
                break
            del self._sessions[found]
            self._changed.discard(found)
        await self._core.writer.write(
            lambda connection: connection.execute("DELETE FROM agent_sessions WHERE used_at_ns <= ?", (until,))
        )


def _write(connection: sqlite3.Connection, rows: list[tuple[str, int, str]], gone: list[tuple[str]]) -> None:
    connection.executemany("DELETE FROM agent_sessions WHERE id = ?", gone)
    connection.executemany(
        "INSERT INTO agent_sessions (id, used_at_ns, state) VALUES (?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET used_at_ns = excluded.used_at_ns, state = excluded.state",
        rows,
    )
