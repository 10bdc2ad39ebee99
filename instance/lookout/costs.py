"""Costs and the overview, from the hourly sums."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

from instance.core.money import nano_to_usd
from instance.core.timestamps import NS_PER_S, rfc3339
from instance.lookout import store
from instance.lookout.store import NOTHING, Sums, TraceFilter

NS_PER_DAY = 86_400 * NS_PER_S


def costs(
    connection: sqlite3.Connection, start_ns: int, end_ns: int, groups: tuple[str, ...], narrowed: TraceFilter
) -> dict[str, Any]:
    """The answer of `GET /api/observe/costs`; `providers` is always there, as in the original."""
    whole = _whole(connection, start_ns, end_ns, narrowed)
    providers = ("provider",)
    return {
        "period": {"from": rfc3339(start_ns), "to": rfc3339(end_ns)},
        "total_usd": nano_to_usd(whole.cost_nano),
        "total_requests": whole.requests,
        "saved_usd": nano_to_usd(whole.saved_nano),
        "breakdown": _breakdown(connection, start_ns, end_ns, groups, narrowed, whole),
        "providers": _breakdown(connection, start_ns, end_ns, providers, narrowed, whole),
    }


def daily(connection: sqlite3.Connection, start_ns: int, end_ns: int, narrowed: TraceFilter) -> list[dict[str, Any]]:
    """One row for each day (UTC) of the period, oldest first, also for days without calls."""
    found = {day: sums for (day,), sums in store.sums(connection, start_ns, end_ns, ("day",), narrowed)}
    days = range(start_ns // NS_PER_DAY, -(-end_ns // NS_PER_DAY))
    return [_day(day, found.get(day, NOTHING)) for day in days]


def overview(
    connection: sqlite3.Connection, now_ns: int, start_ns: int, end_ns: int, narrowed: TraceFilter
) -> dict[str, Any]:
    """The answer of `GET /api/observe/overview`: sums of the period, and of the current day (UTC)."""
    midnight = now_ns - now_ns % NS_PER_DAY
    period = _whole(connection, start_ns, end_ns, narrowed)
    today = _whole(connection, midnight, now_ns, narrowed)
    ever = _whole(connection, 0, now_ns, narrowed)
    p95 = store.latency_percentile(connection, midnight, 0.95, narrowed)
    by_model = store.sums(connection, start_ns, end_ns, ("model",), narrowed)
    by_provider = store.sums(connection, start_ns, end_ns, ("provider",), narrowed)
    return {
        "total_requests": period.requests,
        "total_tokens_in": period.tokens_in,
        "total_tokens_out": period.tokens_out,
        "total_cost_usd": nano_to_usd(period.cost_nano),
        "total_traces": ever.requests,
        "anomalies": 0,
        "today": {
            "requests": today.requests,
            "cost_usd": nano_to_usd(today.cost_nano),
            "errors": today.errors,
            "avg_latency_ms": _average_ms(today),
            "p95_latency_ms": 0 if p95 is None else p95 / 1000,
            "cache_hit_rate": _share(today.cache_hits, today.requests),
            "saved_usd": nano_to_usd(today.saved_nano),
        },
        "requests_today": today.requests,
        "cost_today_usd": nano_to_usd(today.cost_nano),
        "avg_latency_ms": _average_ms(period),
        "cache_hit_rate": _share(period.cache_hits, period.requests),
        "top_model": _most_used(by_model),
        "top_provider": _most_used(by_provider),
    }


def _whole(connection: sqlite3.Connection, start_ns: int, end_ns: int, narrowed: TraceFilter) -> Sums:
    rows = store.sums(connection, start_ns, end_ns, (), narrowed)
    return rows[0][1] if rows else NOTHING


def _breakdown(
    connection: sqlite3.Connection,
    start_ns: int,
    end_ns: int,
    groups: tuple[str, ...],
    narrowed: TraceFilter,
    whole: Sums,
) -> list[dict[str, Any]]:
    return [
        {group: _date(value) if group == "day" else value for group, value in zip(groups, values, strict=True)}
        | {
            "requests": sums.requests,
            "tokens_in": sums.tokens_in,
            "tokens_out": sums.tokens_out,
            "cost_usd": nano_to_usd(sums.cost_nano),
            "saved_usd": nano_to_usd(sums.saved_nano),
            "share": _share(sums.cost_nano, whole.cost_nano),
        }
        for values, sums in store.sums(connection, start_ns, end_ns, groups, narrowed)
    ]


def _day(day: int, sums: Sums) -> dict[str, Any]:
    return {
        "date": _date(day),
        "requests": sums.requests,
        "cost_usd": nano_to_usd(sums.cost_nano),
        "tokens_in": sums.tokens_in,
        "tokens_out": sums.tokens_out,
        "saved_usd": nano_to_usd(sums.saved_nano),
        "errors": sums.errors,
    }


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _average_ms(sums: Sums) -> float:
    return round(sums.duration_us / sums.requests / 1000, 3) if sums.requests else 0.0


def _most_used(groups: list[tuple[tuple[Any, ...], Sums]]) -> str | None:
    served = [(sums.requests, name) for (name,), sums in groups if name]
    return max(served)[1] if served else None


def totals_ever(connection: sqlite3.Connection) -> Sums:
    """What all recorded calls add up to."""
    rows = store.sums(connection, 0, 2**62)
    return rows[0][1] if rows else NOTHING
