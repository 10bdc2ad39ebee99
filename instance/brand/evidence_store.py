"""SQL of evidence packs."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from instance.brand.store import LedgerFilter
from instance.core.timestamps import rfc3339

_COLUMNS = (
    "id",
    "name",
    "description",
    "include",
    "filter",
    "date_from",
    "date_to",
    "event_count",
    "first_seq",
    "last_seq",
    "hash",
    "size_bytes",
    "manifest",
    "status",
    "error",
    "created_at_ns",
    "created_by",
)

Pack = dict[str, Any]


def insert(connection: sqlite3.Connection, pack: Pack) -> None:
    """Store a new pack: the fields that are known before it is built."""
    names = tuple(pack)
    marks = ", ".join("?" * len(names))
    connection.execute(f"INSERT INTO evidence_packs ({', '.join(names)}) VALUES ({marks})", tuple(pack.values()))


def built(connection: sqlite3.Connection, pack_id: str, **fields: Any) -> None:
    """Fill in what the building of a pack found out."""
    names = ", ".join(f"{name} = ?" for name in fields)
    connection.execute(f"UPDATE evidence_packs SET {names} WHERE id = ?", (*fields.values(), pack_id))


def delete(connection: sqlite3.Connection, pack_id: str) -> bool:
    """Remove a pack's row; whether there was one."""
    return connection.execute("DELETE FROM evidence_packs WHERE id = ?", (pack_id,)).rowcount > 0


def one(connection: sqlite3.Connection, pack_id: str) -> Pack | None:
    """The row of a pack."""
    row = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM evidence_packs WHERE id = ?", (pack_id,)).fetchone()
    return dict(zip(_COLUMNS, row, strict=True)) if row is not None else None


def packs(connection: sqlite3.Connection, limit: int, offset: int) -> list[Pack]:
    """Packs, the newest first."""
    rows = connection.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM evidence_packs ORDER BY created_at_ns DESC, id DESC LIMIT ? OFFSET ?",
        (limit, offset),
    )
    return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]


def count(connection: sqlite3.Connection) -> int:
    """How many packs there are."""
    number: int = connection.execute("SELECT count(*) FROM evidence_packs").fetchone()[0]
    return number


def extent(connection: sqlite3.Connection, narrowed: LedgerFilter) -> tuple[int, int, int]:
    """First and last `seq` and number of the entries that match; zeros when none does."""
    where, parameters = narrowed.where()
    row = connection.execute(
        f"SELECT coalesce(min(seq), 0), coalesce(max(seq), 0), count(*) FROM ledger WHERE {where}", parameters
    ).fetchone()
    return row[0], row[1], row[2]


def shown(pack: Pack) -> Pack:
    """A pack as lists show it."""
    hidden = ("include", "filter", "manifest", "created_at_ns", "error")
    record = {name: value for name, value in pack.items() if name not in hidden}
    record["include"] = orjson.loads(pack["include"])
    record["error"] = pack["error"] or None
    record["created_at"] = rfc3339(pack["created_at_ns"])
    return record
