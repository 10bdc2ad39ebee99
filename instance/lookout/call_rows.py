"""The columns of journalled calls, decoded once for all who fold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from instance.lookout.call_columns import CALL_COLUMNS

if TYPE_CHECKING:
    from instance.core.writer import Record

INTEGER_MAX = 2**63 - 1

_WIDTH = len(CALL_COLUMNS)
_NULLABLE = frozenset(("ttft_us",))

_last: tuple[Sequence[Record] | None, list[list[Any]]] = (None, [])


def call_rows(records: Sequence[Record]) -> list[list[Any]]:
    """One list of `CALL_COLUMNS` values for each record of kind 1, in order.

    The folds of one slice receive the same `records` and share what is decoded here; callers must not change it. Only
    the writer's thread calls this.
    """
    global _last
    if _last[0] is records:
        return _last[1]
    rows = [_row(record.parts[0]) for record in records]
    _last = (records, rows)
    return rows


def _row(part: bytes) -> list[Any]:
    row: list[Any] = orjson.loads(part)
    if len(row) < _WIDTH:
        row += [None if name in _NULLABLE else "" for name in CALL_COLUMNS[len(row) :]]
    return row if len(row) == _WIDTH else row[:_WIDTH]


def storable(row: Sequence[Any]) -> list[Any]:
    """The same row with integers that SQLite cannot hold cut to the largest it can: a provider's absurd count must not
    stop the journal from being folded."""
    return [max(-INTEGER_MAX, min(value, INTEGER_MAX)) if type(value) is int else value for value in row]
