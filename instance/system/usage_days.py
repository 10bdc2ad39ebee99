"""What each key and each model did on each of the last days, folded from the journal with everything else.

A name's counters over all days only ever grow, so a control plane that reads them twice counts nothing twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from instance.lookout.call_rows import call_sums

if TYPE_CHECKING:
    from instance.core.records import Record

COUNTERS = ("requests", "errors", "tokens_in", "tokens_out", "cost_nano", "bytes_out")
SUM_MAX = 2**53
DAYS = 8
"""Days told apart, today among them."""
MODELS_MAX = 200
"""Models counted by name; the calls of further ones are counted under `OTHER`."""
MODEL_CHARACTERS = 200
OTHER = "other"
MINUTES = 1440
SECONDS = 86_400

_GROWN = ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTERS)
_ADD = f"INSERT INTO usage_days VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {_GROWN}"
_SUMS = ", ".join(f"sum({name})" for name in COUNTERS)
_JOIN = f"""
INSERT INTO usage_days SELECT 0, kind, name, {_SUMS} FROM usage_days WHERE day BETWEEN 1 AND ? GROUP BY kind, name
ON CONFLICT DO UPDATE SET {_GROWN}
"""

Counters = dict[str, int]


class UsageDaysFold:
    """The fold of calls; one for each instance, used by the writer's thread alone."""

    def __init__(self) -> None:
        self._models: set[str] | None = None
        self._today = 0

    def __call__(self, connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        if self._models is None:
            named = connection.execute("SELECT DISTINCT name FROM usage_days WHERE kind = 'model'")
            self._models = {row[0] for row in named}
        found: dict[tuple[int, str, str], list[int]] = {}
        for calls in call_sums(records):
            day = calls.minute // MINUTES
            errors = calls.calls if calls.status == "error" else 0
            counted = (calls.calls, errors, calls.tokens_in, calls.tokens_out, calls.cost_nano, calls.bytes_out)
            for place in ((day, "key", calls.key_id), (day, "model", self._named(calls.model))):
                known = found.get(place)
                found[place] = list(counted) if known is None else [a + b for a, b in zip(known, counted, strict=True)]
        rows = [(*place, *(min(value, SUM_MAX) for value in counted)) for place, counted in found.items()]
        connection.executemany(_ADD, rows)
        newest = max((day for day, _, _ in found), default=0)
        if newest > self._today:
            self._today = newest
            connection.execute(_JOIN, (newest - DAYS,))
            connection.execute("DELETE FROM usage_days WHERE day BETWEEN 1 AND ?", (newest - DAYS,))

    def _named(self, model: str) -> str:
        """The name under which a model is counted; calls that reached none are among the others."""
        assert self._models is not None
        if model in self._models:
            return model
        if not model or len(model) > MODEL_CHARACTERS or len(self._models) >= MODELS_MAX:
            return OTHER
        self._models.add(model)
        return model


def by_model(connection: sqlite3.Connection) -> dict[str, Counters]:
    """All that was counted of each model."""
    rows = connection.execute(f"SELECT name, {_SUMS} FROM usage_days WHERE kind = 'model' GROUP BY name")
    return {row[0]: dict(zip(COUNTERS, row[1:], strict=True)) for row in rows}


def by_day(connection: sqlite3.Connection) -> dict[str, dict[str, dict[str, Counters]]]:
    """The last days, newest first: what was counted on each by key and by model, as `{day: {kind: {name: counters}}}`."""
    found: dict[str, dict[str, dict[str, Counters]]] = {}
    newest = connection.execute("SELECT max(day) FROM usage_days").fetchone()[0] or 0
    query = f"SELECT day, kind, name, {', '.join(COUNTERS)} FROM usage_days WHERE day > max(0, ?) ORDER BY day DESC"
    for day, kind, name, *counters in connection.execute(query, (newest - DAYS,)):
        of_day = found.setdefault(_iso(day), {"key": {}, "model": {}})
        of_day[kind][name] = dict(zip(COUNTERS, counters, strict=True))
    return found


def _iso(day: int) -> str:
    return datetime.fromtimestamp(day * SECONDS, UTC).date().isoformat()
