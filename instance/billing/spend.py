"""What calls cost, summed by minute in a table of its own: folded with the traces, read when accounts are rebuilt."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from instance.billing.budget import Budget, Subject
from instance.billing.periods import MINUTE_NS
from instance.core.records import Record
from instance.lookout.call_columns import CALL_COLUMNS
from instance.lookout.call_rows import call_rows

_AT = {name: index for index, name in enumerate(CALL_COLUMNS)}
_COST, _CREATED = _AT["cost_nano"], _AT["created_at_ns"]
_KEY, _TEAM, _PROJECT, _USER = _AT["key_id"], _AT["team_id"], _AT["project"], _AT["user_id"]
_MODEL = _AT["model_requested"]
COST_MAX_NANO = 2**53
"""More than that for one minute of one spender is counted as that: nine million dollars."""


def fold_spend(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Add the costs of journalled calls; calls that cost nothing leave no row."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for record, row in zip(records, call_rows(records), strict=True):
        cost = row[_COST]
        if not cost:
            continue
        tags = orjson.loads(record.parts[1]).get("tags") if b'"tags"' in bytes(record.parts[1]) else None
        key = (
            row[_CREATED] // MINUTE_NS,
            str(row[_KEY]),
            row[_TEAM],
            row[_PROJECT],
            row[_USER],
            row[_MODEL],
            orjson.dumps(tags, option=orjson.OPT_SORT_KEYS).decode() if tags else "",
        )
        total = sums.setdefault(key, [0, 0])
        total[0] += cost
        total[1] += 1
    if sums:
        connection.executemany(
            "INSERT INTO spend (minute, key_id, team, project, user, model, tags, cost_nano, calls) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "cost_nano = min(cost_nano + excluded.cost_nano, 9007199254740992), calls = calls + excluded.calls",
            [(*key, min(cost, COST_MAX_NANO), calls) for key, (cost, calls) in sums.items()],
        )


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
