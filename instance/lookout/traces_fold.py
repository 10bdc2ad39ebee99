"""Folds journalled calls into traces, their texts and the hourly sums. Runs in the writer's thread."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from instance.core.timestamps import NS_PER_S
from instance.lookout.call_columns import CALL_COLUMNS
from instance.lookout.call_rows import call_rows, storable

if TYPE_CHECKING:
    from instance.core.writer import Record

NS_PER_HOUR = 3600 * NS_PER_S
SUM_MAX = 2**53
DEFLATE_ABOVE_BYTES = 512
DEFLATE_LEVEL = 1

_INSERT_TRACE = (
    f"INSERT INTO traces ({', '.join(CALL_COLUMNS)}, detail, ledger_seq) "
    f"VALUES ({', '.join('?' * (len(CALL_COLUMNS) + 2))})"
)
_INSERT_BODY = """
INSERT INTO trace_bodies (n, request, request_size, response, response_size)
SELECT n, ?, ?, ?, ? FROM traces WHERE id = ?
"""
_ADD_HOUR = """
INSERT INTO trace_hours (hour, provider, model, project, team_id, user_id, key_id,
    requests, errors, cache_hits, tokens_in, tokens_out, cost_nano, saved_nano, duration_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests, errors = errors + excluded.errors,
    cache_hits = cache_hits + excluded.cache_hits, tokens_in = tokens_in + excluded.tokens_in,
    tokens_out = tokens_out + excluded.tokens_out, cost_nano = cost_nano + excluded.cost_nano,
    saved_nano = saved_nano + excluded.saved_nano, duration_us = duration_us + excluded.duration_us
"""

(
    _ID,
    _PROVIDER,
    _MODEL,
    _PROJECT,
    _TEAM,
    _USER,
    _KEY,
    _STATUS,
    _CREATED_AT_NS,
    _DURATION_US,
    _TOKENS_IN,
    _TOKENS_OUT,
    _COST_NANO,
    _SAVED_NANO,
) = (
    CALL_COLUMNS.index(name)
    for name in (
        "id",
        "provider",
        "model",
        "project",
        "team_id",
        "user_id",
        "key_id",
        "status",
        "created_at_ns",
        "duration_us",
        "tokens_in",
        "tokens_out",
        "cost_nano",
        "saved_nano",
    )
)


class TracesFold:
    """The fold of kind 1. `ledger_seqs` tells which entries of the ledger the same calls have just received."""

    def __init__(self, ledger_seqs: Callable[[], Sequence[int]]) -> None:
        self._ledger_seqs = ledger_seqs

    def __call__(self, connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        rows = call_rows(records)
        seqs = self._ledger_seqs()
        traces = [(*row, record.parts[1], seq) for row, record, seq in zip(rows, records, seqs, strict=True)]
        try:
            connection.executemany(_INSERT_TRACE, traces)
        except OverflowError:
            rows = [storable(row) for row in rows]
            connection.executemany("INSERT OR IGNORE" + _INSERT_TRACE[6:], [storable(trace) for trace in traces])
        bodies = [
            (*_kept(record.parts[3]), *_kept(record.parts[4]), row[_ID])
            for row, record in zip(rows, records, strict=True)
            if record.parts[3] or record.parts[4]
        ]
        if bodies:
            connection.executemany(_INSERT_BODY, bodies)
        connection.executemany(_ADD_HOUR, _hours(rows))


def _kept(text: bytes) -> tuple[bytes, int]:
    size = len(text)
    if size > DEFLATE_ABOVE_BYTES:
        deflated = zlib.compress(text, DEFLATE_LEVEL)
        if len(deflated) < size:
            return deflated, size
    return text, size


def kept_text(stored: bytes, size: int) -> bytes:
    """The text behind a stored one of `size` bytes."""
    return stored if len(stored) == size else zlib.decompress(stored)


def _hours(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        status = row[_STATUS]
        group = (
            row[_CREATED_AT_NS] // NS_PER_HOUR,
            row[_PROVIDER],
            row[_MODEL],
            row[_PROJECT],
            row[_TEAM],
            row[_USER],
            row[_KEY],
        )
        total = sums.get(group)
        if total is None:
            total = sums[group] = [0] * 8
        total[0] += 1
        if status == "cache_hit":
            total[2] += 1
        elif status != "ok":
            total[1] += 1
        total[3] += row[_TOKENS_IN]
        total[4] += row[_TOKENS_OUT]
        total[5] += row[_COST_NANO]
        total[6] += row[_SAVED_NANO]
        total[7] += row[_DURATION_US]
    return [(*group, *(min(value, SUM_MAX) for value in total)) for group, total in sums.items()]
