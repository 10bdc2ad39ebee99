"""Buckets of usage: calls added up by minute, hour and day for each value of each dimension, and their table."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

import orjson

from instance.lookout.calls_feed import RecordedCall

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
RESOLUTIONS: dict[str, int] = {"minute": MINUTE_S, "hour": HOUR_S, "day": DAY_S}
NS_PER_S = 10**9
Key = TypeVar("Key")
TAG = "tag:"
OTHER = "other"
"""The value under which everything is counted that is beyond the most values of a day."""
DAYS_REMEMBERED = 3
DELETED_AT_ONCE = 2000

DIMENSIONS: dict[str, Callable[[RecordedCall], str]] = {
    "team": attrgetter("team_id"),
    "key": attrgetter("key_id"),
    "user": attrgetter("user_id"),
    "model": attrgetter("model"),
    "provider": attrgetter("provider"),
    "project": attrgetter("project"),
    "operation": attrgetter("operation"),
}
COUNTS = (
    "requests",
    "errors",
    "blocked",
    "estimated",
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_reasoning",
    "cost_nano",
    "saved_nano",
)
_SUMS = ", ".join(f"sum({name})" for name in COUNTS)
_ADD = f"""
INSERT INTO usage_buckets (resolution_s, start_s, dimension, value, {", ".join(COUNTS)})
VALUES (?, ?, ?, ?, {", ".join("?" * len(COUNTS))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS)}
"""

Bucket = tuple[int, int, str, str]
"""Resolution in seconds, start in seconds since 1970, dimension, value."""


class UsageRow(NamedTuple):
    """One period of one value; the counts are in the order of `COUNTS`."""

    start_s: int
    value: str
    counts: tuple[int, ...]


class KnownValues:
    """The values that a dimension has on a day, of which there are at most `most`; what is more counts as `OTHER`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: dict[tuple[int, str], set[str]] = {}

    def counted_as(self, connection: sqlite3.Connection, day_s: int, dimension: str, value: str) -> str:
        """The value itself, or `OTHER`."""
        known = self._known.get((day_s, dimension))
        if known is None:
            known = self._known[(day_s, dimension)] = {
                row[0]
                for row in connection.execute(
                    "SELECT value FROM usage_buckets WHERE resolution_s = ? AND dimension = ? AND start_s = ?",
                    (DAY_S, dimension, day_s),
                )
            }
            for old in [key for key in self._known if key[0] < day_s - DAYS_REMEMBERED * DAY_S]:
                del self._known[old]
        if value in known:
            return value
        if len(known) >= self.most:
            return OTHER
        known.add(value)
        return value


def summed(
    connection: sqlite3.Connection, calls: Iterable[RecordedCall], dimensions: Sequence[str], known: KnownValues
) -> dict[Bucket, list[int]]:
    """The calls added up in buckets of every resolution. A call without a tag is in no bucket of that tag."""
    minutes: dict[tuple[int, str, str], list[int]] = {}
    plain = [(name, DIMENSIONS[name]) for name in dimensions if name in DIMENSIONS]
    tags = [(name, name.removeprefix(TAG)) for name in dimensions if name not in DIMENSIONS]
    for call in calls:
        minute_s = call.created_at_ns // NS_PER_S // MINUTE_S * MINUTE_S
        values = [(name, of(call)) for name, of in plain]
        if tags and call.tags is not None:
            given = orjson.loads(call.tags)
            values += [(name, str(given[tag])) for name, tag in tags if tag in given]
        counts = _counts(call)
        for name, value in values:
            value = known.counted_as(connection, minute_s // DAY_S * DAY_S, name, value)
            _add(minutes, (minute_s, name, value), counts)
    buckets: dict[Bucket, list[int]] = {}
    for (minute_s, name, value), counts in minutes.items():
        for resolution_s in RESOLUTIONS.values():
            _add(buckets, (resolution_s, minute_s // resolution_s * resolution_s, name, value), counts)
    return buckets


def _counts(call: RecordedCall) -> list[int]:
    return [
        1,
        0 if call.status in ("ok", "cache_hit") else 1,
        1 if call.status == "blocked" else 0,
        1 if call.usage_source == "estimated" else 0,
        call.tokens_in,
        call.tokens_out,
        call.tokens_cached,
        call.tokens_reasoning,
        call.cost_nano,
        call.saved_nano,
    ]


def _add(sums: dict[Key, list[int]], key: Key, counts: list[int]) -> None:
    sum_ = sums.get(key)
    if sum_ is None:
        sums[key] = counts[:]
    else:
        for place, count in enumerate(counts):
            sum_[place] += count


def position(connection: sqlite3.Connection) -> tuple[int, bool]:
    """Up to which call everything is counted, and whether the module was on then."""
    n, active = connection.execute("SELECT n, active FROM usage_position").fetchone()
    return n, bool(active)


def set_position(connection: sqlite3.Connection, n: int, *, active: bool) -> None:
    connection.execute("UPDATE usage_position SET n = ?, active = ?", (n, int(active)))


def add_buckets(connection: sqlite3.Connection, sums: dict[Bucket, list[int]], behind: int, n: int) -> int:
    """Add the calls behind the place `behind` up to `n`, once: where the table is past that already nothing is added.
    The place up to which everything is counted now."""
    at, active = position(connection)
    if at != behind:
        return at
    connection.executemany(_ADD, [(*bucket, *counts) for bucket, counts in sums.items()])
    set_position(connection, n, active=active)
    return n


def delete_old(connection: sqlite3.Connection, resolution_s: int, before_s: int) -> int:
    """Delete buckets that began before, at most `DELETED_AT_ONCE`; how many it were."""
    return connection.execute(
        "DELETE FROM usage_buckets WHERE (resolution_s, dimension, start_s, value) IN (SELECT resolution_s, dimension, "
        "start_s, value FROM usage_buckets WHERE resolution_s = ? AND start_s < ? LIMIT ?)",
        (resolution_s, before_s, DELETED_AT_ONCE),
    ).rowcount


def periods(
    connection: sqlite3.Connection,
    resolution_s: int,
    start_s: int,
    end_s: int,
    dimension: str,
    *,
    value: str | None = None,
    after: tuple[int, str] = (-1, ""),
    limit: int = -1,
) -> list[UsageRow]:
    """The periods that begin from `start_s` until before `end_s`, in order, those behind `after` (start, value)."""
    rows = connection.execute(
        f"SELECT start_s, value, {', '.join(COUNTS)} FROM usage_buckets WHERE resolution_s = ? AND dimension = ? "
        "AND start_s >= ? AND start_s < ? AND (start_s, value) > (?, ?) AND (? IS NULL OR value = ?) "
        "ORDER BY start_s, value LIMIT ?",
        (resolution_s, dimension, max(start_s, after[0]), end_s, *after, value, value, limit),
    )
    return [UsageRow(row[0], row[1], tuple(row[2:])) for row in rows]


def totals(
    connection: sqlite3.Connection,
    resolution_s: int,
    start_s: int,
    end_s: int,
    dimension: str,
    *,
    value: str | None = None,
    after: str | None = None,
    limit: int = -1,
) -> list[UsageRow]:
    """One row for each value, over all periods that begin from `start_s` until before `end_s`; by value, those behind `after`."""
    rows = connection.execute(
        f"SELECT value, {_SUMS} FROM usage_buckets WHERE resolution_s = ? AND dimension = ? AND start_s >= ? "
        "AND start_s < ? AND (? IS NULL OR value = ?) AND (? IS NULL OR value > ?) GROUP BY value ORDER BY value LIMIT ?",
        (resolution_s, dimension, start_s, end_s, value, value, after, after, limit),
    )
    return [UsageRow(start_s, row[0], tuple(row[1:])) for row in rows]
