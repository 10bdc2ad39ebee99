"""Folds journalled calls into traces, their texts and the hourly sums. Runs in the writer's thread."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from instance.core.bulk_insert import BulkInsert
from instance.core.timestamps import NS_PER_S
from instance.lookout.call_columns import CALL_COLUMNS
from instance.lookout.call_rows import NS_PER_MINUTE, CallSums, call_rows, call_sums, storable

if TYPE_CHECKING:
    from instance.core.records import Record

NS_PER_HOUR = 3600 * NS_PER_S
MINUTES_PER_HOUR = NS_PER_HOUR // NS_PER_MINUTE
SUM_MAX = 2**53
DEFLATE_ABOVE_BYTES = 4096
"""A smaller text costs more to deflate than the rest of its fold, and saves less than a page."""
DEFLATE_LEVEL = 1

_TRACE_COLUMNS = ("n", *CALL_COLUMNS, "detail", "ledger_seq")
_insert_traces = BulkInsert("traces", _TRACE_COLUMNS)
_insert_missing_traces = BulkInsert("traces", _TRACE_COLUMNS, or_ignore=True)
_insert_bodies = BulkInsert("trace_bodies", ("n", "request", "request_size", "response", "response_size"))
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


class TracesFold:
    """The fold of kind 1. `ledger_seqs` tells which entries of the ledger the same calls have just received."""

    def __init__(self, ledger_seqs: Callable[[], Sequence[int]]) -> None:
        self._ledger_seqs = ledger_seqs

    def __call__(self, connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        first = (connection.execute("SELECT max(n) FROM traces").fetchone()[0] or 0) + 1
        numbers = range(first, first + len(records))
        traces = [
            (n, *row, record.parts[1].decode(), seq)
            for n, row, record, seq in zip(numbers, call_rows(records), records, self._ledger_seqs(), strict=True)
        ]
        try:
            _insert_traces(connection, traces)
        except OverflowError:
            _insert_missing_traces(connection, [storable(trace) for trace in traces])
        bodies = [
            (n, *_kept(record.parts[3]), *_kept(record.parts[4]))
            for n, record in zip(numbers, records, strict=True)
            if record.parts[3] or record.parts[4]
        ]
        if bodies:
            _insert_bodies(connection, bodies)
        connection.executemany(_ADD_HOUR, _hours(call_sums(records)))


def _kept(text: bytes) -> tuple[bytearray, int]:
    size = len(text)
    if size > DEFLATE_ABOVE_BYTES:
        deflated = zlib.compress(text, DEFLATE_LEVEL)
        if len(deflated) < size:
            return bytearray(deflated), size
    return bytearray(text), size


def kept_text(stored: bytes, size: int) -> bytes:
    """The text behind a stored one of `size` bytes."""
    return stored if len(stored) == size else zlib.decompress(stored)


def _hours(sums: Sequence[CallSums]) -> list[tuple[object, ...]]:
    return [
        (
            calls.minute // MINUTES_PER_HOUR,
            calls.provider,
            calls.model,
            calls.project,
            calls.team_id,
            calls.user_id,
            calls.key_id,
            calls.calls,
            0 if calls.status in ("ok", "cache_hit") else calls.calls,
            calls.calls if calls.status == "cache_hit" else 0,
            min(calls.tokens_in, SUM_MAX),
            min(calls.tokens_out, SUM_MAX),
            min(calls.cost_nano, SUM_MAX),
            min(calls.saved_nano, SUM_MAX),
            min(calls.duration_us, SUM_MAX),
        )
        for calls in sums
    ]
