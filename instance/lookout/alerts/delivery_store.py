"""SQL of notices on their way to a channel."""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

import orjson

WAITING_MAX = 10_000
SHOWN_MAX = 200


class Delivery(NamedTuple):
    """One notice for one channel. `attempts` counts those that were made."""

    id: str
    rule_id: int
    history_id: int | None
    event: str
    notice: dict[str, Any]
    attempts: int


def insert(
    connection: sqlite3.Connection,
    delivery_id: str,
    rule_id: int,
    history_id: int | None,
    event: str,
    notice: dict[str, Any],
    now_ns: int,
) -> None:
    """Queue a notice. With `WAITING_MAX` waiting, the oldest of them is given up."""
    connection.execute(
        "INSERT INTO alert_deliveries (id, rule_id, history_id, event, notice, status, attempts, next_at_ns, error, "
        "created_at_ns) VALUES (?, ?, ?, ?, ?, 'waiting', 0, ?, '', ?)",
        (delivery_id, rule_id, history_id, event, orjson.dumps(notice).decode(), now_ns, now_ns),
    )
    connection.execute(
        "UPDATE alert_deliveries SET status = 'failed', error = 'too many notices wait' WHERE id IN (SELECT id FROM "
        "alert_deliveries WHERE status = 'waiting' ORDER BY next_at_ns DESC LIMIT -1 OFFSET ?)",
        (WAITING_MAX,),
    )


def due(connection: sqlite3.Connection, now_ns: int, limit: int) -> list[Delivery]:
    """Notices whose time has come, the longest due first."""
    rows = connection.execute(
        "SELECT id, rule_id, history_id, event, notice, attempts FROM alert_deliveries "
        "WHERE status = 'waiting' AND next_at_ns <= ? ORDER BY next_at_ns LIMIT ?",
        (now_ns, limit),
    )
    return [Delivery._make((*row[:4], orjson.loads(row[4]), row[5])) for row in rows]


def attempted(
    connection: sqlite3.Connection,
    delivery: Delivery,
    *,
    http_status: int | None,
    error: str,
    next_at_ns: int | None,
) -> None:
    """Store an attempt: delivered without an error; else tried again at `next_at_ns`, or given up when that is `None`."""
    status = "delivered" if not error else "failed" if next_at_ns is None else "waiting"
    connection.execute(
        "UPDATE alert_deliveries SET status = ?, attempts = ?, next_at_ns = coalesce(?, next_at_ns), http_status = ?, "
        "error = ? WHERE id = ?",
        (status, delivery.attempts + 1, next_at_ns, http_status, error, delivery.id),
    )
    if delivery.history_id is not None:
        connection.execute(
            "UPDATE alert_history SET delivered = max(delivered, ?), error = ? WHERE id = ?",
            (int(not error), error, delivery.history_id),
        )


def of_rule(connection: sqlite3.Connection, rule_id: int) -> list[tuple[Any, ...]]:
    """The latest deliveries of a rule: `(id, event, status, attempts, http_status, error, created_at_ns)`."""
    return connection.execute(
        "SELECT id, event, status, attempts, http_status, error, created_at_ns FROM alert_deliveries WHERE rule_id = ? "
        "ORDER BY created_at_ns DESC LIMIT ?",
        (rule_id, SHOWN_MAX),
    ).fetchall()
