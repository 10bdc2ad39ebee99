"""Whether a restored database is sound: `python -m control_plane.backups.check FILE` prints the answer as JSON.

A program of its own, so that neither its memory nor its computing is the control plane's.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from instance.brand.chain import ZERO_HASH, Walk

_LEDGER = """SELECT seq, created_at, event_type, actor, resource, action, detail, trace_id, prev_hash, hash
             FROM ledger ORDER BY seq"""


class Checked(NamedTuple):
    """What was found in a database file; `detail` says what is wrong when it is not sound."""

    ok: bool
    ledger_seq: int
    ledger_hash: str
    bytes: int
    detail: str


def check(path: Path) -> Checked:
    """Walk every page (`PRAGMA integrity_check`) and every entry of the ledger."""
    size = path.stat().st_size
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                return Checked(False, 0, ZERO_HASH.hex(), size, f"integrity_check: {found}")
            return _check_ledger(connection, size)
    except sqlite3.DatabaseError as error:
        return Checked(False, 0, ZERO_HASH.hex(), size, f"not a readable database: {error}")


def _check_ledger(connection: sqlite3.Connection, size: int) -> Checked:
    walk = Walk()
    for entry in _entries(connection):
        if not walk.check(entry):
            break
    verdict = walk.end()
    detail = "" if verdict.valid else f"ledger entry {verdict.broken_at}: {verdict.reason}"
    return Checked(verdict.valid, verdict.head_seq, verdict.head_hash, size, detail)


def _entries(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    for row in connection.execute(_LEDGER):
        seq, created_at, event_type, actor, resource, action, detail, trace_id, prev_hash, own_hash = row
        yield {
            "seq": seq,
            "created_at": created_at,
            "event_type": event_type,
            "actor": actor,
            "resource": resource,
            "action": action,
            "detail": orjson.Fragment(detail),
            "trace_id": trace_id,
            "prev_hash": _hex(prev_hash),
            "hash": _hex(own_hash),
        }


def _hex(value: bytes | str) -> str:
    """An instance stores its hashes as bytes, the control plane as hexadecimal text."""
    return value.hex() if isinstance(value, bytes) else value


if __name__ == "__main__":
    print(json.dumps(check(Path(sys.argv[1]))._asdict()))
