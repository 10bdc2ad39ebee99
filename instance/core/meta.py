"""Facts about the database itself, and how far the journal was folded into it."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

EPOCH = "epoch"
PENDING_EPOCH = "pending_epoch"
REPLACED_HEAD = "replaced_head"
SECRET_CHECK = "secret_check"


class Position(NamedTuple):
    """Up to where the journal of `epoch` was folded."""

    epoch: str
    sequence: int
    segment: int


def get(connection: sqlite3.Connection, name: str) -> str:
    """The fact's value; empty when it is not known."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row[0] if row else ""


def put(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Remember a fact; an empty value forgets it."""
    if value:
        connection.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))
    else:
        connection.execute("DELETE FROM meta WHERE name = ?", (name,))


def position(connection: sqlite3.Connection) -> Position:
    """How far the journal was folded; of no epoch in a new database."""
    row = connection.execute("SELECT epoch, sequence, segment FROM journal_position").fetchone()
    return Position(*row) if row else Position("", 0, 0)


def begin_epoch(connection: sqlite3.Connection, epoch: str) -> Position:
    """Make this the database's epoch; its journal's sequences go on behind the old one's. The position to fold from."""
    known = position(connection)
    begun = Position(epoch, known.sequence, 0)
    put(connection, EPOCH, epoch)
    connection.execute(
        "INSERT OR REPLACE INTO journal_position (one, epoch, sequence, segment) VALUES (1, ?, ?, ?)", begun
    )
    return begun
