"""An instance's database under steady writes whose every commit is known: `python -m bench.steady_writer DATABASE RATE SECONDS`.

A process of its own, so that it can be killed. Each commit appends one entry to the ledger; after it, the log beside the
database (`DATABASE.commits`) gets its number and the times just before and after the commit. Prints a line once it begins.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple

import orjson

from instance.brand.chain import ZERO_HASH, canonical, entry_hash
from instance.core.database import Database
from instance.core.timestamps import rfc3339
from instance.server import all_components

RECORD = struct.Struct("<qdd")
FILLED_AT_ONCE = 500
PADDING_BYTES = 1_500


class Commit(NamedTuple):
    """A commit of ledger entry `n`; seconds since 1970 before it began and after it was done."""

    n: int
    begun: float
    done: float


def commits_of(database: Path) -> list[Commit]:
    """What the writer logged, in order; a torn last record is left out."""
    log = _log_of(database).read_bytes()
    whole = len(log) - len(log) % RECORD.size
    return [Commit(*fields) for fields in RECORD.iter_unpack(log[:whole])]


class SteadyWriter:
    """Appends ledger entries to a real instance's database."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        database = Database(path, all_components(), litestream_owns_checkpoints=True)
        self._connection: sqlite3.Connection = database.open()
        last = self._connection.execute("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
        self._seq: int = last[0] if last else 0
        self._head: bytes = last[1] if last else ZERO_HASH

    def fill(self, megabytes: float) -> None:
        """Grow the database to about so much, in large commits."""
        while self._path.stat().st_size + _size(Path(f"{self._path}-wal")) < megabytes * 1e6:
            self._connection.execute("BEGIN IMMEDIATE")
            for _ in range(FILLED_AT_ONCE):
                self._append()
            self._connection.execute("COMMIT")

    def run(self, rate: float, seconds: float) -> None:
        """One entry a commit, so many a second for so long, each one logged."""
        log = os.open(_log_of(self._path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        began = time.monotonic()
        for count in range(int(rate * seconds)):
            time.sleep(max(0.0, began + count / rate - time.monotonic()))
            begun = time.time()
            self._connection.execute("BEGIN IMMEDIATE")
            self._append()
            self._connection.execute("COMMIT")
            os.write(log, RECORD.pack(self._seq, begun, time.time()))
        os.close(log)

    def _append(self) -> None:
        seq = self._seq + 1
        entry = {
            "seq": seq,
            "created_at": rfc3339(time.time_ns()),
            "event_type": "proxy_request",
            "actor": "key:1",
            "resource": "chat",
            "action": "call",
            "detail": {"n": seq, "padding": os.urandom(PADDING_BYTES // 2).hex()},
            "trace_id": None,
        }
        digest = entry_hash(self._head, canonical(entry))
        row = entry | {"detail": orjson.dumps(entry["detail"]).decode(), "prev": self._head, "hash": digest}
        self._connection.execute(
            "INSERT INTO ledger VALUES"
            " (:seq, :created_at, :event_type, :actor, :resource, :action, :detail, :trace_id, :prev, :hash)",
            row,
        )
        self._seq, self._head = seq, digest


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}.commits")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


if __name__ == "__main__":
    _writer = SteadyWriter(Path(sys.argv[1]))
    print("begins", flush=True)
    _writer.run(float(sys.argv[2]), float(sys.argv[3]))
