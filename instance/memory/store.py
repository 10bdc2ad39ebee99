"""SQL of the sessions' tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from instance.memory.session import Session, Turn

_COLUMNS = (
    "id, identity, origin, name, user_id, team_id, key_id, summary, summarised, messages, tokens, pinned, expires_at_ns, "
    "updated_at_ns"
)


def load(connection: sqlite3.Connection, column: str, value: Any) -> Session | None:
    """The session of an `id` or an `identity`, with its turns."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM memory_sessions WHERE {'identity' if column == 'identity' else 'id'} = ?", (value,)
    ).fetchone()
    if row is None:
        return None
    ident, identity, origin, name, user, team, key, summary, summarised, _, _, pinned, expires, updated = row
    session = Session(ident, identity, origin, name, user, team, key, expires, updated)
    session.summary, session.summarised, session.pinned = summary, summarised, bool(pinned)
    rows = connection.execute(
        "SELECT n, message, digest, tokens, at_ns, cut FROM memory_messages WHERE session_id = ? ORDER BY n", (ident,)
    ).fetchall()
    session.first = rows[0][0] if rows else 0
    session.add(
        [Turn(orjson.loads(message), digest, tokens, at, bool(cut)) for _, message, digest, tokens, at, cut in rows]
    )
    session.clean = len(session.turns)
    return session


def save(connection: sqlite3.Connection, session: Session, turns: Iterable[Turn], clean: int) -> None:
    """Write the session's row, and its turns from number `clean` (of those in memory) on in the place of what was there.

    A session of the same identity whose time was over, and which is not deleted yet, makes room."""
    connection.execute("DELETE FROM memory_sessions WHERE identity = ? AND id <> ?", (session.identity, session.id))
    connection.execute(
        f"INSERT INTO memory_sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET summary = excluded.summary, summarised = excluded.summarised, "
        "messages = excluded.messages, tokens = excluded.tokens, pinned = excluded.pinned, "
        "expires_at_ns = excluded.expires_at_ns, updated_at_ns = excluded.updated_at_ns, user_id = excluded.user_id",
        (
            session.id,
            session.identity,
            session.origin,
            session.name,
            session.user,
            session.team,
            session.key,
            session.summary,
            session.summarised,
            len(session.turns),
            session.tokens,
            session.pinned,
            session.expires_at_ns,
            session.updated_at_ns,
        ),
    )
    start = session.first + clean
    connection.execute(
        "DELETE FROM memory_messages WHERE session_id = ? AND (n >= ? OR n < ?)", (session.id, start, session.first)
    )
    connection.executemany(
        "INSERT INTO memory_messages (session_id, n, message, digest, tokens, cut, at_ns) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (session.id, start + n, orjson.dumps(turn.message).decode(), turn.digest, turn.tokens, turn.cut, turn.at_ns)
            for n, turn in enumerate(turns)
        ],
    )


def listed(
    connection: sqlite3.Connection, where: str, values: tuple[Any, ...], limit: int, offset: int
) -> list[dict[str, Any]]:
    """Rows of sessions, last used first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM memory_sessions WHERE {where} ORDER BY updated_at_ns DESC, id DESC LIMIT ? OFFSET ?",
        (*values, limit, offset),
    ).fetchall()
    names = [name.strip() for name in _COLUMNS.split(",")]
    return [dict(zip(names, row, strict=True)) for row in rows]


def total(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> tuple[int, int]:
    """How many sessions and messages there are."""
    count, messages = connection.execute(
        f"SELECT count(*), coalesce(sum(messages), 0) FROM memory_sessions WHERE {where}", values
    ).fetchone()
    return count, messages


def remove(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> list[tuple[bytes, int]]:
    """Delete sessions with their messages; the identity and number of messages of each."""
    return connection.execute(
        f"DELETE FROM memory_sessions WHERE {where} RETURNING identity, messages", values
    ).fetchall()


def remove_beyond(connection: sqlite3.Connection, most: int) -> list[tuple[bytes, int]]:
    """Delete the sessions that were used longest ago beyond the most that are kept; pinned ones stay."""
    return remove(
        connection,
        "id IN (SELECT id FROM memory_sessions WHERE pinned = 0 ORDER BY updated_at_ns DESC LIMIT -1 OFFSET ?)",
        (most,),
    )


def whole(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> Iterator[Session]:
    """Every session with its turns."""
    for (ident,) in connection.execute(f"SELECT id FROM memory_sessions WHERE {where} ORDER BY id", values).fetchall():
        session = load(connection, "id", ident)
        if session is not None:
            yield session
