"""SQL of approvals."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from instance.brand.approval import Ticket

_COLUMNS = (
    "id",
    "status",
    "rule",
    "needed",
    "approvers",
    "four_eyes",
    "request_sha256",
    "trace_id",
    "key_id",
    "user_id",
    "team_id",
    "model",
    "remembers",
    "votes",
    "created_at_ns",
    "expires_at_ns",
    "decided_at_ns",
)
KNOWN_MAX = 100_000


def _ticket(row: tuple[Any, ...]) -> Ticket:
    fields = dict(zip(_COLUMNS, row, strict=True))
    fields["approvers"] = tuple(orjson.loads(fields["approvers"]))
    fields["votes"] = tuple(orjson.loads(fields["votes"]))
    fields["four_eyes"] = bool(fields["four_eyes"])
    return Ticket(**fields)


def save(connection: sqlite3.Connection, ticket: Ticket) -> None:
    """Store a ticket in place of its earlier state."""
    values = [getattr(ticket, name) for name in _COLUMNS]
    for name in ("approvers", "votes"):
        values[_COLUMNS.index(name)] = orjson.dumps(getattr(ticket, name)).decode()
    connection.execute(
        f"INSERT OR REPLACE INTO approvals ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})", values
    )


def one(connection: sqlite3.Connection, ticket_id: str) -> Ticket | None:
    """The ticket with this id."""
    row = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM approvals WHERE id = ?", (ticket_id,)).fetchone()
    return _ticket(row) if row is not None else None


def pending(connection: sqlite3.Connection, ticket: Ticket, now_ns: int) -> Ticket | None:
    """The ticket on which the same request waits already, for the same rule."""
    row = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM approvals WHERE status = 'pending' AND request_sha256 = ? AND key_id = ? "
        "AND rule = ? AND expires_at_ns >= ? LIMIT 1",
        (ticket.request_sha256, ticket.key_id, ticket.rule, now_ns),
    ).fetchone()
    return _ticket(row) if row is not None else None


def count_pending(connection: sqlite3.Connection, now_ns: int) -> int:
    """How many tickets wait."""
    query = "SELECT count(*) FROM approvals WHERE status = 'pending' AND expires_at_ns >= ?"
    number: int = connection.execute(query, (now_ns,)).fetchone()[0]
    return number


def all_pending(connection: sqlite3.Connection, now_ns: int) -> dict[str, int]:
    """The tickets that wait, and until when."""
    query = "SELECT id, expires_at_ns FROM approvals WHERE status = 'pending' AND expires_at_ns >= ?"
    return dict(connection.execute(query, (now_ns,)))


def use(connection: sqlite3.Connection, ticket_id: str, now_ns: int) -> bool:
    """Use an approved ticket up; False when it is not approved, too old, or was used before."""
    done = connection.execute(
        "UPDATE approvals SET status = 'used' WHERE id = ? AND status = 'approved' AND expires_at_ns >= ?",
        (ticket_id, now_ns),
    )
    return done.rowcount > 0


def tickets(connection: sqlite3.Connection, status: str | None, limit: int, offset: int, now_ns: int) -> list[Ticket]:
    """Tickets, the newest first."""
    parameters: list[str | int] = [] if status is None else [status]
    where = "1" if status is None else "status = ?"
    if status == "pending":
        where, parameters = "status = 'pending' AND expires_at_ns >= ?", [now_ns]
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM approvals WHERE {where} ORDER BY created_at_ns DESC, id DESC LIMIT ? OFFSET ?",
        (*parameters, limit, offset),
    )
    return [_ticket(row) for row in rows]


def prune(connection: sqlite3.Connection, before_ns: int, limit: int) -> int:
    """Remove some of the tickets that are older; how many. What they approved for good stays."""
    return connection.execute(
        "DELETE FROM approvals WHERE id IN (SELECT id FROM approvals WHERE created_at_ns < ? ORDER BY created_at_ns LIMIT ?)",
        (before_ns, limit),
    ).rowcount


def remember(connection: sqlite3.Connection, ticket: Ticket, now_ns: int) -> None:
    """Approve for good what the ticket was about."""
    connection.execute(
        "INSERT OR IGNORE INTO approved_before (what, approval_id, approved_at_ns) VALUES (?, ?, ?)",
        (ticket.remembers, ticket.id, now_ns),
    )


def known(connection: sqlite3.Connection) -> list[str]:
    """What was approved for good."""
    rows = connection.execute("SELECT what FROM approved_before ORDER BY approved_at_ns DESC LIMIT ?", (KNOWN_MAX,))
    return [what for (what,) in rows]
