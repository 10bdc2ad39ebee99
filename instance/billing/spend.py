"""What calls cost, summed by minute in a table of its own: folded with the traces, read when accounts are rebuilt."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from instance.billing.budget import Budget, Subject
from instance.billing.periods import MINUTE_NS
from instance.core.records import Record
from instance.lookout.call_rows import call_sums

COST_MAX_NANO = 2**53
"""More than that for one minute of one spender is counted as that: nine million dollars."""

_ADD = f"""
INSERT INTO spend (minute, key_id, team, project, user, model, tags, cost_nano, calls)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    cost_nano = min(cost_nano + excluded.cost_nano, {COST_MAX_NANO}), calls = calls + excluded.calls
"""


def fold_spend(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Add the costs of journalled calls; calls that cost nothing leave no row."""
    sums: dict[tuple[Any, ...], tuple[int, int]] = {}
    for calls in call_sums(records):
        if calls.paid_calls:
            spender = (calls.key_id, calls.team_id, calls.project, calls.user_id, calls.model_requested)
            key = (calls.minute, *spender, calls.tags)
            cost, count = sums.get(key, (0, 0))
            sums[key] = (cost + calls.cost_nano, count + calls.paid_calls)
    if sums:
        connection.executemany(_ADD, [(*key, min(cost, COST_MAX_NANO), count) for key, (cost, count) in sums.items()])


def spent_since(connection: sqlite3.Connection, budget: Budget, start_ns: int) -> list[tuple[int, int]]:
    """What counts for the budget from `start_ns` on: `(start of the minute in ns, nano-dollars)`, oldest first."""
    where = ["minute >= ?"]
    values: list[Any] = [max(start_ns // MINUTE_NS, -(-budget.reset_at_ns // MINUTE_NS))]
    for field, column in (("key", "key_id"), ("user", "user"), ("team", "team"), ("project", "project")):
        if field in budget.scope:
            where.append(f"{column} = ?")
            values.append(budget.scope[field])
    query = (
        "SELECT minute, key_id, user, team, project, model, tags, sum(cost_nano) FROM spend "
        f"WHERE {' AND '.join(where)} GROUP BY minute, model, tags ORDER BY minute"
    )
    found: dict[int, int] = {}
    for minute, key, user, team, project, model, tags, nano in connection.execute(query, values):
        subject = Subject(key, user, team, project, model, orjson.loads(tags) if tags else {})
        if budget.covers(subject):
            found[minute] = found.get(minute, 0) + nano
    return [(minute * MINUTE_NS, nano) for minute, nano in found.items()]


def keys_since(connection: sqlite3.Connection, start_ns: int) -> Iterator[tuple[str, int]]:
    """What each key spent from `start_ns` on: `(key id, nano-dollars)`."""
    query = "SELECT key_id, sum(cost_nano) FROM spend WHERE minute >= ? GROUP BY key_id"
    yield from connection.execute(query, (start_ns // MINUTE_NS,))
