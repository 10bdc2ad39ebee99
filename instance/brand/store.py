"""SQL of the ledger's reading side."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import orjson

from instance.brand.ledger import last_given

_COLUMNS = "seq, created_at, event_type, actor, resource, action, detail, trace_id, prev_hash, hash"

TOTAL_CAP = 10_000


@dataclass(frozen=True, slots=True)
class LedgerFilter:
    """What a list, an export or a verification is narrowed to; `None` does not narrow. Times are nanoseconds."""

    event_type: str | None = None
    actor: str | None = None
    resource: str | None = None
    action: str | None = None
    trace_id: str | None = None
    from_seq: int | None = None
    to_seq: int | None = None
    created_from: str | None = None
    created_to: str | None = None

    def leaves_gaps(self) -> dict[str, str]:
        """The filters under which entries between two others may be missing."""
        fields = ("event_type", "actor", "resource", "action", "trace_id", "created_from", "created_to")
        return {name: value for name in fields if (value := getattr(self, name)) is not None}

    def where(self) -> tuple[str, list[Any]]:
        """The condition and its parameters."""
        terms, parameters = [], []
        for column in ("event_type", "actor", "resource", "action", "trace_id"):
            value = getattr(self, column)
            if value is not None:
                terms.append(f"{column} = ?")
                parameters.append(value)
        if self.event_type is not None and self.event_type != "proxy_request":
            terms.append("event_type <> 'proxy_request'")
        bounds = (
            ("seq >= ?", self.from_seq),
            ("seq <= ?", self.to_seq),
            ("created_at >= ?", self.created_from),
            ("created_at < ?", self.created_to),
        )
        for term, value in bounds:
            if value is not None:
                terms.append(term)
                parameters.append(value)
        return " AND ".join(terms) or "1", parameters


def entry_of(row: tuple[Any, ...]) -> dict[str, Any]:
    """The entry as answers and exports show it."""
    seq, created_at, event_type, actor, resource, action, detail, trace_id, prev_hash, own_hash = row
    return {
        "seq": seq,
        "id": seq,
        "created_at": created_at,
        "event_type": event_type,
        "actor": actor,
        "resource": resource,
        "action": action,
        "detail": orjson.loads(detail),
        "trace_id": trace_id,
        "prev_hash": prev_hash.hex(),
        "hash": own_hash.hex(),
    }


def chained_of(row: tuple[Any, ...]) -> dict[str, Any]:
    """The entry as the chain checks it: its detail is taken byte for byte as it is stored."""
    seq, created_at, event_type, actor, resource, action, detail, trace_id, prev_hash, own_hash = row
    return {
        "seq": seq,
        "created_at": created_at,
        "event_type": event_type,
        "actor": actor,
        "resource": resource,
        "action": action,
        "detail": orjson.Fragment(detail),
        "trace_id": trace_id,
        "prev_hash": prev_hash.hex(),
        "hash": own_hash.hex(),
    }


def entries(
    connection: sqlite3.Connection,
    narrowed: LedgerFilter,
    *,
    limit: int,
    offset: int = 0,
    ascending: bool = False,
    after: int | None = None,
) -> list[tuple[Any, ...]]:
    """Rows in the order of `seq`; `after` is the last `seq` of the page before."""
    where, parameters = narrowed.where()
    if after is not None:
        where += " AND seq > ?" if ascending else " AND seq < ?"
        parameters.append(after)
    order = "ASC" if ascending else "DESC"
    return connection.execute(
        f"SELECT {_COLUMNS} FROM ledger WHERE {where} ORDER BY seq {order} LIMIT ? OFFSET ?",
        (*parameters, limit, offset),
    ).fetchall()


def total(connection: sqlite3.Connection, narrowed: LedgerFilter) -> tuple[int, bool]:
    """How many entries match, and whether the count stopped at the cap."""
    where, parameters = narrowed.where()
    (count,) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM ledger WHERE {where} LIMIT ?)", (*parameters, TOTAL_CAP + 1)
    ).fetchone()
    return min(count, TOTAL_CAP), count > TOTAL_CAP


def one(connection: sqlite3.Connection, seq: int) -> tuple[Any, ...] | None:
    """The row with this `seq`."""
    row: tuple[Any, ...] | None = connection.execute(f"SELECT {_COLUMNS} FROM ledger WHERE seq = ?", (seq,)).fetchone()
    return row


def after(connection: sqlite3.Connection, seq: int, last_seq: int, limit: int) -> list[tuple[Any, ...]]:
    """The next rows of a walk: `seq` exclusive, `last_seq` inclusive."""
    return connection.execute(
        f"SELECT {_COLUMNS} FROM ledger WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (seq, last_seq, limit)
    ).fetchall()


def bounds(connection: sqlite3.Connection) -> tuple[int, int]:
    """The first `seq` that is there and the last that was ever given; `(0, 0)` of an empty ledger."""
    first = connection.execute("SELECT min(seq) FROM ledger").fetchone()[0]
    return first or 0, last_given(connection)
