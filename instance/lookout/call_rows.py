"""The columns of journalled calls, decoded once for all who fold them, and summed once by all that anybody sums by."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from instance.lookout.call_columns import CALL_COLUMNS

if TYPE_CHECKING:
    from instance.core.records import Record

INTEGER_MAX = 2**63 - 1
NS_PER_MINUTE = 60_000_000_000

_WIDTH = len(CALL_COLUMNS)
_NULLABLE = frozenset(("ttft_us",))
_STREAM = CALL_COLUMNS.index("stream")
_CREATED_AT_NS = CALL_COLUMNS.index("created_at_ns")

_subject = itemgetter(
    *map(
        CALL_COLUMNS.index,
        ("status", "provider", "model", "model_requested", "project", "team_id", "user_id", "key_id"),
    )
)
_summed = itemgetter(
    *map(
        CALL_COLUMNS.index,
        ("tokens_in", "tokens_out", "cost_nano", "saved_nano", "duration_us", "bytes_out", "created_at_ns"),
    )
)


class CallSums(NamedTuple):
    """Calls of one minute that agree in all that is summed by. `tags` is JSON with sorted keys, empty without tags."""

    minute: int
    status: str
    provider: str
    model: str
    model_requested: str
    project: str
    team_id: str
    user_id: str
    key_id: str
    tags: str
    calls: int
    paid_calls: int
    tokens_in: int
    tokens_out: int
    cost_nano: int
    saved_nano: int
    duration_us: int
    bytes_out: int
    last_created_at_ns: int


_last_rows: tuple[Sequence[Record] | None, list[list[Any]]] = (None, [])
_last_sums: tuple[Sequence[Record] | None, list[CallSums]] = (None, [])


def call_rows(records: Sequence[Record]) -> list[list[Any]]:
    """One list of `CALL_COLUMNS` values for each record of kind 1, in order.

    The folds of one slice receive the same `records` and share what is decoded here; callers must not change it. Only
    the writer's thread calls this.
    """
    global _last_rows
    if _last_rows[0] is records:
        return _last_rows[1]
    loads = orjson.loads
    rows: list[list[Any]] = []
    for record in records:
        row = loads(record.parts[0])
        if len(row) != _WIDTH:
            row = _fitted(row)
        row[_STREAM] = int(row[_STREAM] or 0)
        rows.append(row)
    _last_rows = (records, rows)
    return rows


def call_sums(records: Sequence[Record]) -> list[CallSums]:
    """The calls of `records`, summed; shared as `call_rows` are."""
    global _last_sums
    if _last_sums[0] is records:
        return _last_sums[1]
    groups: dict[tuple[Any, ...], list[tuple[int, ...]]] = {}
    for row, record in zip(call_rows(records), records, strict=True):
        detail = record.parts[1]
        group = (row[_CREATED_AT_NS] // NS_PER_MINUTE, _subject(row), _tags(detail) if b'"tags":' in detail else "")
        known = groups.get(group)
        if known is None:
            groups[group] = [_summed(row)]
        else:
            known.append(_summed(row))
    sums = []
    for (minute, subject, tags), calls in groups.items():
        tokens_in, tokens_out, cost, saved, duration, bytes_out, created = zip(*calls, strict=True)
        paid = len(cost) - cost.count(0)
        totals = (sum(tokens_in), sum(tokens_out), sum(cost), sum(saved), sum(duration), sum(bytes_out), max(created))
        sums.append(CallSums._make((minute, *subject, tags, len(calls), paid, *totals)))
    _last_sums = (records, sums)
    return sums


def _tags(detail: bytes) -> str:
    tags = orjson.loads(detail).get("tags")
    return orjson.dumps(tags, option=orjson.OPT_SORT_KEYS).decode() if tags else ""


def _fitted(row: list[Any]) -> list[Any]:
    if len(row) < _WIDTH:
        row += [None if name in _NULLABLE else "" for name in CALL_COLUMNS[len(row) :]]
    return row[:_WIDTH]


def storable(row: Sequence[Any]) -> list[Any]:
    """The same row with integers that SQLite cannot hold cut to the largest it can: a provider's absurd count must not
    stop the journal from being folded."""
    return [max(-INTEGER_MAX, min(value, INTEGER_MAX)) if type(value) is int else value for value in row]
