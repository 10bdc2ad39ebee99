"""The periods that budgets run over: calendar periods in a time zone, or rolling ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

Period = Literal["minute", "hour", "day", "week", "month", "total"]

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
FOREVER_NS = 2**63 - 1

ROLLING_NS: dict[Period, int] = {
    "minute": MINUTE_NS,
    "hour": 60 * MINUTE_NS,
    "day": 24 * 60 * MINUTE_NS,
    "week": 7 * 24 * 60 * MINUTE_NS,
    "month": 30 * 24 * 60 * MINUTE_NS,
    "total": FOREVER_NS,
}
"""Lengths of rolling periods in nanoseconds; a rolling month is 30 days."""


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The time zone; raises `ValueError` for a name that is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"{name!r} is no time zone; use a name such as UTC or Europe/Berlin") from None


def calendar_window(period: Period, now_ns: int, timezone: str = "UTC") -> tuple[int, int]:
    """Start and end in nanoseconds of the calendar period that `now_ns` lies in; weeks begin on Monday."""
    if period == "total":
        return 0, FOREVER_NS
    if period == "minute":
        start = now_ns - now_ns % MINUTE_NS
        return start, start + MINUTE_NS
    local = zone(timezone)
    now = datetime.fromtimestamp(now_ns // SECOND_NS, UTC).astimezone(local)
    if period == "hour":
        begin = now.replace(minute=0, second=0, microsecond=0)
        start = _ns(begin)
        return start, start + 60 * MINUTE_NS
    day = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "day":
        begin, end = day, day + timedelta(days=1)
    elif period == "week":
        begin = day - timedelta(days=day.weekday())
        end = begin + timedelta(days=7)
    else:
        begin = day.replace(day=1)
        end = (begin + timedelta(days=32)).replace(day=1)
    return _ns(begin), _ns(end)


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_NS
