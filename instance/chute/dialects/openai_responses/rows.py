"""The SQL of stored responses."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

DAY_NS = 86_400 * 1_000_000_000
OLDEST_AT_ONCE = 100


class Row(NamedTuple):
    """One response as it lies in the database; `body` is sealed, and empty for a response that a provider keeps."""

    id: str
    owner: str
    provider: str
    previous_id: str
    created_at_ns: int
    expires_at_ns: int
    size_bytes: int
    body: bytes


_COLUMNS = ", ".join(Row._fields)


def find(connection: sqlite3.Connection, response_id: str, now_ns: int) -> Row | None:
    """The response, unless its time is over."""
    query = f"SELECT {_COLUMNS} FROM responses WHERE id = ? AND expires_at_ns > ?"
    row = connection.execute(query, (response_id, now_ns)).fetchone()
    return Row(*row) if row is not None else None


def exists(connection: sqlite3.Connection, response_id: str) -> bool:
    return connection.execute("SELECT 1 FROM responses WHERE id = ?", (response_id,)).fetchone() is not None


def delete(connection: sqlite3.Connection, response_id: str) -> None:
    connection.execute("DELETE FROM responses WHERE id = ?", (response_id,))


def totals(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many there are, and the bytes of their bodies."""
    count, size = connection.execute("SELECT count(*), coalesce(sum(size_bytes), 0) FROM responses").fetchone()
    return count, size


def expire(connection: sqlite3.Connection, now_ns: int) -> tuple[int, int]:
    """Delete what is over its time; what is left, as `totals`."""
    connection.execute("DELETE FROM responses WHERE expires_at_ns <= ?", (now_ns,))
    return totals(connection)


def save(
    connection: sqlite3.Connection, rows: list[Row], extended: list[tuple[int, str]], over: int, over_bytes: int
) -> tuple[int, int]:
    """Write the rows, let what they continue live as long (`extended`: expiry, id), and make room for `over` rows and
    `over_bytes`, what would expire first. How many rows, and bytes of them, that took."""
    places = ", ".join("?" * len(Row._fields))
    connection.executemany(f"INSERT OR REPLACE INTO responses ({_COLUMNS}) VALUES ({places})", rows)
    connection.executemany(
        "UPDATE responses SET expires_at_ns = ? WHERE id = ? AND expires_at_ns < ?",
        [(expires_ns, response_id, expires_ns - DAY_NS) for expires_ns, response_id in extended],
    )
    removed = removed_bytes = 0
    while removed < over or removed_bytes < over_bytes:
        query = "SELECT id, size_bytes FROM responses ORDER BY expires_at_ns LIMIT ?"
        oldest = connection.execute(query, (OLDEST_AT_ONCE,)).fetchall()
        if not oldest:
            break
        for response_id, size_bytes in oldest:
            if removed >= over and removed_bytes >= over_bytes:
                break
            delete(connection, response_id)
            removed += 1
            removed_bytes += size_bytes
    return removed, removed_bytes
