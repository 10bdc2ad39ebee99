"""SQL of Lookout's reading side."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

from instance.lookout.trace_record import LISTED_COLUMNS, WHOLE_COLUMNS
from instance.lookout.traces_fold import NS_PER_HOUR, kept_text

TOTAL_CAP = 10_000
PERCENTILE_SAMPLE = 10_000

SORTS = {"created_at": "created_at_ns", "duration_ms": "duration_us", "cost_usd": "cost_nano"}
GROUPS = {
    "provider": "provider",
    "model": "model",
    "project": "project",
    "team": "team_id",
    "user": "user_id",
    "key": "key_id",
    "day": "hour / 24",
}
_HOUR_SUMS = (
    "sum(requests), sum(errors), sum(cache_hits), sum(tokens_in), sum(tokens_out), "
    "sum(cost_nano), sum(saved_nano), sum(duration_us)"
)


@dataclass(slots=True)
class TraceFilter:
    """The condition of a list of traces, built up term by term."""

    terms: list[str] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)

    def add(self, term: str, *parameters: Any) -> None:
        self.terms.append(term)
        self.parameters.extend(parameters)

    def where(self) -> str:
        return " AND ".join(self.terms) or "1"


@dataclass(frozen=True, slots=True)
class Sums:
    """What a group of calls adds up to."""

    requests: int
    errors: int
    cache_hits: int
    tokens_in: int
    tokens_out: int
    cost_nano: int
    saved_nano: int
    duration_us: int


NOTHING = Sums(0, 0, 0, 0, 0, 0, 0, 0)


def traces(
    connection: sqlite3.Connection,
    narrowed: TraceFilter,
    *,
    sort: str,
    ascending: bool,
    limit: int,
    offset: int,
    after: tuple[int, ...] | None,
) -> list[dict[str, Any]]:
    """Rows of `LISTED_COLUMNS`, `tags` and `cost_unknown`; `after` is (sorted value, n) of the last row of the page before."""
    column = SORTS[sort]
    where, parameters = narrowed.where(), list(narrowed.parameters)
    if after is not None:
        where += f" AND ({column}, n) {'>' if ascending else '<'} (?, ?)"
        parameters += after
    direction = "ASC" if ascending else "DESC"
    cursor = connection.execute(
        f"SELECT {', '.join(LISTED_COLUMNS)}, json_extract(detail, '$.tags') AS tags, "
        "json_extract(detail, '$.cost_unknown') AS cost_unknown FROM traces "
        f"WHERE {where} ORDER BY {column} {direction}, n {direction} LIMIT ? OFFSET ?",
        (*parameters, limit, offset),
    )
    names = (*LISTED_COLUMNS, "tags", "cost_unknown")
    return [dict(zip(names, row, strict=True)) for row in cursor]


def total(connection: sqlite3.Connection, narrowed: TraceFilter) -> tuple[int, bool]:
    """How many traces match, and whether the count stopped at the cap."""
    (count,) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM traces WHERE {narrowed.where()} LIMIT ?)",
        (*narrowed.parameters, TOTAL_CAP + 1),
    ).fetchone()
    return min(count, TOTAL_CAP), count > TOTAL_CAP


def one(
    connection: sqlite3.Connection, name: str, team: str
) -> tuple[dict[str, Any], tuple[bytes, bytes] | None] | None:
    """The row of `WHOLE_COLUMNS` and the texts of a trace by its id, else of the newest with this request id.

    With a `team` only that team's rows are seen.
    """
    row = None
    for term, found in (
        ("id = ?", name),
        ("request_id = ? AND request_id <> 'req_' || substr(id, 4)", name),
        ("id = ? AND request_id = 'req_' || substr(id, 4)", f"tr_{name[4:]}" if name.startswith("req_") else ""),
    ):
        row = connection.execute(
            f"SELECT {', '.join(WHOLE_COLUMNS)} FROM traces WHERE {term} AND (? = '' OR team_id = ?) "
            "ORDER BY n DESC LIMIT 1",
            (found, team, team),
        ).fetchone()
        if row is not None:
            break
    if row is None:
        return None
    trace = dict(zip(WHOLE_COLUMNS, row, strict=True))
    kept = connection.execute(
        "SELECT request, request_size, response, response_size FROM trace_bodies WHERE n = ?", (trace["n"],)
    ).fetchone()
    return trace, (kept_text(kept[0], kept[1]), kept_text(kept[2], kept[3])) if kept else None


def sums(
    connection: sqlite3.Connection,
    start_ns: int,
    end_ns: int,
    groups: tuple[str, ...] = (),
    narrowed: TraceFilter | None = None,
) -> list[tuple[tuple[Any, ...], Sums]]:
    """Hourly sums from `start_ns` to `end_ns` (whole hours), by group, the dearest group first."""
    columns = [GROUPS[group] for group in groups]
    narrowed = narrowed or TraceFilter()
    query = f"SELECT {''.join(column + ', ' for column in columns)}{_HOUR_SUMS} FROM trace_hours "
    query += f"WHERE hour >= ? AND hour < ? AND {narrowed.where()}"
    if columns:
        positions = ", ".join(str(position + 1) for position in range(len(columns)))
        query += f" GROUP BY {positions} ORDER BY sum(cost_nano) DESC, sum(requests) DESC, {positions}"
    first, last = start_ns // NS_PER_HOUR, -(-end_ns // NS_PER_HOUR)
    rows = connection.execute(query, (first, last, *narrowed.parameters))
    width = len(columns)
    return [(row[:width], Sums(*row[width:])) for row in rows if row[width] is not None]


def latency_percentile(
    connection: sqlite3.Connection, start_ns: int, share: float, narrowed: TraceFilter
) -> int | None:
    """Microseconds under which this share of the newest calls (at most 10,000) since `start_ns` stayed."""
    durations = connection.execute(
        f"SELECT duration_us FROM traces WHERE created_at_ns >= ? AND {narrowed.where()} "
        "ORDER BY created_at_ns DESC LIMIT ?",
        (start_ns, *narrowed.parameters, PERCENTILE_SAMPLE),
    ).fetchall()
    if not durations:
        return None
    ordered = sorted(duration for (duration,) in durations)
    worst: int = ordered[min(len(ordered) - 1, int(len(ordered) * share))]
    return worst


def extent(connection: sqlite3.Connection) -> tuple[int, int | None]:
    """How many calls there are by the hourly sums, and when the oldest trace began."""
    count = connection.execute("SELECT coalesce(sum(requests), 0) FROM trace_hours").fetchone()[0]
    oldest = connection.execute("SELECT min(created_at_ns) FROM traces").fetchone()[0]
    return count, oldest
