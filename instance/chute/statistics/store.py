"""The table of statistics: minutes are written as they end, rolled up to hours and days, read and added up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import orjson

from instance.chute.statistics.histogram import LogHistogram
from instance.chute.statistics.series import Series, SeriesKey, merged

MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86_400

KEPT_S = {MINUTE_S: 2 * DAY_S, HOUR_S: 62 * DAY_S, DAY_S: 800 * DAY_S}
"""How long rows of a resolution stay before they are rolled up (days: before they are deleted)."""
COARSER = {MINUTE_S: HOUR_S, HOUR_S: DAY_S}

_SERIES = "provider, model, team_id, key_id, project"
_COUNTS = (
    "tokens_in, tokens_out, tokens_cached, cost_nano, saved_nano, outcomes, errors, latency_us, ttft_us, overhead_us"
)


def insert_series(
    connection: sqlite3.Connection, resolution_s: int, rows: Sequence[tuple[int, SeriesKey, Series]]
) -> None:
    """Write series: `(start in units of the resolution, key, series)`."""
    connection.executemany(
        f"INSERT INTO call_statistics (resolution_s, start_s, {_SERIES}, calls, {_COUNTS}) VALUES ({', '.join('?' * 18)})",
        [
            (
                resolution_s,
                start * resolution_s,
                *key,
                series.calls,
                series.tokens_in,
                series.tokens_out,
                series.tokens_cached,
                series.cost_nano,
                series.saved_nano,
                orjson.dumps([[status, cache, count] for (status, cache), count in series.outcomes.items()]),
                orjson.dumps(series.errors),
                series.latency_us.encode(),
                series.ttft_us.encode(),
                series.overhead_us.encode(),
            )
            for start, key, series in rows
        ],
    )


def read_series(
    connection: sqlite3.Connection, start_s: int, end_s: int, *, resolution_s: int | None = None
) -> Iterator[tuple[int, SeriesKey, Series]]:
    """Every series that begins from `start_s` until before `end_s`, of all resolutions or one: `(start_s, key, series)`."""
    resolutions = list(KEPT_S) if resolution_s is None else [resolution_s]
    for resolution in resolutions:
        rows = connection.execute(
            f"SELECT start_s, {_SERIES}, {_COUNTS} FROM call_statistics "
            "WHERE resolution_s = ? AND start_s >= ? AND start_s < ? ORDER BY start_s",
            (resolution, start_s, end_s),
        )
        for row in rows:
            yield row[0], SeriesKey(*row[1:6]), _series(row[6:])


def _series(row: Sequence[object]) -> Series:
    series = Series()
    series.tokens_in, series.tokens_out, series.tokens_cached, series.cost_nano, series.saved_nano = row[:5]  # type: ignore[assignment]
    outcomes, errors, latency, ttft, overhead = (bytes(part) for part in row[5:])  # type: ignore[call-overload]
    series.outcomes = {(status, cache): count for status, cache, count in orjson.loads(outcomes)}
    series.errors = orjson.loads(errors)
    series.latency_us = LogHistogram.decode(latency)
    series.ttft_us = LogHistogram.decode(ttft)
    series.overhead_us = LogHistogram.decode(overhead)
    return series


def roll_up(connection: sqlite3.Connection, now_s: int) -> bool:
    """Turn the oldest bucket of rows that are past their time into one of the next resolution; whether there was any."""
    for resolution, kept_s in KEPT_S.items():
        oldest = connection.execute(
            "SELECT min(start_s) FROM call_statistics WHERE resolution_s = ?", (resolution,)
        ).fetchone()[0]
        if oldest is None or oldest >= now_s - kept_s:
            continue
        coarser = COARSER.get(resolution)
        start = oldest // (coarser or resolution)
        first, end = start * (coarser or resolution), (start + 1) * (coarser or resolution)
        if coarser is not None:
            rows = ((key, series) for _, key, series in read_series(connection, first, end, resolution_s=resolution))
            groups = merged(rows, lambda key: key)
            insert_series(connection, coarser, [(start, SeriesKey(*key), series) for key, series in groups.items()])
        connection.execute(
            "DELETE FROM call_statistics WHERE resolution_s = ? AND start_s >= ? AND start_s < ?",
            (resolution, first, end),
        )
        return True
    return False
