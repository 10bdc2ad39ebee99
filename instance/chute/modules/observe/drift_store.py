"""SQL of drift: baselines as numbers and vectors, what drifted, and the past of canaries."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any

import orjson

from instance.chute.modules.observe.drift_series import Finding, Sample

DIMENSIONS = 384
EVENTS_KEPT = 10_000
PAST_MAX = 14
"""Answers of a canary that are remembered."""


def packed(rows: Sequence[Any]) -> bytes:
    """Vectors as deflated float16."""
    if not rows:
        return b""
    import numpy as np

    return zlib.compress(np.stack(rows).astype(np.float16).tobytes())


def unpacked(data: bytes) -> list[Any]:
    """The vectors of `packed`, as float32."""
    if not data:
        return []
    import numpy as np

    return list(np.frombuffer(zlib.decompress(data), np.float16).reshape(-1, DIMENSIONS).astype(np.float32))


def save_baseline(connection: sqlite3.Connection, series: str, samples: Sequence[Sample], now_ns: int) -> None:
    """Store a baseline."""
    flat = [[*sample[:-1], sample.vector is not None] for sample in samples]
    vectors = packed([sample.vector for sample in samples if sample.vector is not None])
    connection.execute(
        "INSERT OR REPLACE INTO drift_baselines VALUES (?, ?, ?, ?)",
        (series, zlib.compress(orjson.dumps(flat)), vectors, now_ns),
    )


def delete_baseline(connection: sqlite3.Connection, series: str) -> None:
    connection.execute("DELETE FROM drift_baselines WHERE series = ?", (series,))


def baselines(connection: sqlite3.Connection, limit: int) -> dict[str, list[Sample]]:
    """The baselines that were stored last."""
    found = {}
    for series, samples, vectors in connection.execute(
        "SELECT series, samples, vectors FROM drift_baselines ORDER BY updated_at_ns DESC LIMIT ?", (limit,)
    ):
        rows = iter(unpacked(vectors))
        found[series] = [
            Sample._make([*row[:-1], next(rows) if row[-1] else None]) for row in orjson.loads(zlib.decompress(samples))
        ]
    return found


def begin_event(connection: sqlite3.Connection, series: str, finding: Finding, now_ns: int) -> int:
    """Store that something drifted; the id of the event. Only the latest `EVENTS_KEPT` are kept."""
    cursor = connection.execute(
        "INSERT INTO drift_events (series, metric, baseline, now, q, effect, detected_at_ns) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (series, finding.metric, finding.before, finding.now, finding.q, finding.effect, now_ns),
    )
    made = int(cursor.lastrowid or 0)
    connection.execute("DELETE FROM drift_events WHERE id <= ?", (made - EVENTS_KEPT,))
    return made


def end_event(connection: sqlite3.Connection, event_id: int, now_ns: int) -> None:
    """Store that it is as before again, or is the new baseline."""
    connection.execute("UPDATE drift_events SET ended_at_ns = ? WHERE id = ?", (now_ns, event_id))


def open_events(connection: sqlite3.Connection) -> list[tuple[int, str, str]]:
    """What goes on: (id, series, metric)."""
    return connection.execute(
        "SELECT id, series, metric FROM drift_events WHERE ended_at_ns IS NULL AND q IS NOT NULL"
    ).fetchall()


def events(connection: sqlite3.Connection, limit: int, since_ns: int = 0) -> list[tuple[Any, ...]]:
    """(id, series, metric, baseline, now, q, effect, detected_at_ns, ended_at_ns), the latest first."""
    return connection.execute(
        "SELECT id, series, metric, baseline, now, q, effect, detected_at_ns, ended_at_ns FROM drift_events "
        "WHERE detected_at_ns >= ? ORDER BY id DESC LIMIT ?",
        (since_ns, limit),
    ).fetchall()


def canary_past(connection: sqlite3.Connection, name: str) -> tuple[str, list[int], list[Any]]:
    """The day of the last asking (empty: never), the lengths and vectors of past answers."""
    row = connection.execute("SELECT asked_on, lengths, vectors FROM drift_canaries WHERE name = ?", (name,)).fetchone()
    return (row[0], orjson.loads(row[1]), unpacked(row[2])) if row is not None else ("", [], [])


def save_canary(
    connection: sqlite3.Connection, name: str, asked_on: str, lengths: Sequence[int], vectors: Sequence[Any]
) -> None:
    """Store a canary's past with its newest answer."""
    connection.execute(
        "INSERT OR REPLACE INTO drift_canaries VALUES (?, ?, ?, ?)",
        (name, asked_on, orjson.dumps(list(lengths)[-PAST_MAX:]).decode(), packed(list(vectors)[-PAST_MAX:])),
    )
