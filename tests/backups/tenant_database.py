"""A tenant's database as an instance leaves it: WAL mode, no checkpoints of its own, a hash-chained ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Self

import orjson

from instance.brand.chain import ZERO_HASH, canonical, entry_hash

_TABLE = """CREATE TABLE IF NOT EXISTS ledger (seq INTEGER PRIMARY KEY, created_at TEXT, event_type TEXT, actor TEXT,
            resource TEXT, action TEXT, detail TEXT, trace_id TEXT, prev_hash BLOB, hash BLOB)"""


class TenantDatabase:
    """Appends ledger entries, one transaction each."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._connection = sqlite3.connect(path)
        self._connection.execute("PRAGMA journal_mode = wal")
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")
        self._connection.execute(_TABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def append(self, count: int = 1) -> None:
        for _ in range(count):
            with self._connection:
                self._append_one()

    def _append_one(self) -> None:
        last = self._connection.execute("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
        seq, prev = (last[0] + 1, last[1]) if last else (1, ZERO_HASH)
        entry = {
            "seq": seq,
            "created_at": "2026-01-01T00:00:00.000000Z",
            "event_type": "proxy_request",
            "actor": "key:1",
            "resource": "chat",
            "action": "call",
            "detail": {"n": seq},
            "trace_id": None,
        }
        digest = entry_hash(prev, canonical(entry))
        row = {**entry, "detail": orjson.dumps(entry["detail"]).decode(), "prev_hash": prev, "hash": digest}
        self._connection.execute(
            "INSERT INTO ledger VALUES (:seq, :created_at, :event_type, :actor, :resource, :action, :detail, :trace_id,"
            " :prev_hash, :hash)",
            row,
        )


def entries_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT count(*) FROM ledger").fetchone()[0]
        return count
