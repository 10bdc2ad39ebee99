"""Recorded calls in the order of their recording, for who adds them up by himself."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class RecordedCall(NamedTuple):
    """What a call was and used. `n` is its place in the order of recording; `tags` is JSON, `None` without tags."""

    n: int
    created_at_ns: int
    status: str
    provider: str
    model: str
    model_requested: str
    operation: str
    project: str
    team_id: str
    user_id: str
    key_id: str
    usage_source: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_reasoning: int
    cost_nano: int
    saved_nano: int
    tags: str | None


_COLUMNS = ", ".join(RecordedCall._fields[:-1])
_CALLS = f"""
SELECT {_COLUMNS}, CASE WHEN instr(detail, '"tags":') THEN json_extract(detail, '$.tags') END
FROM traces WHERE n > ? AND service = 'proxy' ORDER BY n LIMIT ?
"""


def last_call(connection: sqlite3.Connection) -> int:
    """The place of the newest call; 0 when there is none."""
    return int(connection.execute("SELECT max(n) FROM traces").fetchone()[0] or 0)


def calls_after(connection: sqlite3.Connection, n: int, limit: int) -> list[RecordedCall]:
    """At most `limit` calls behind the place `n`, oldest first."""
    return [RecordedCall._make(row) for row in connection.execute(_CALLS, (n, limit))]
