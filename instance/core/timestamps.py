"""Times at the border: RFC 3339 in UTC with microseconds, as every answer and the ledger write them."""

from __future__ import annotations

from datetime import UTC, datetime
from time import gmtime, strftime

NS_PER_S = 1_000_000_000
LATEST_NS = 2**63 - 1
"""2262-04-11: the last time that SQLite's integers hold in nanoseconds."""

_last: tuple[int, str] = (-1, "")


def rfc3339(wall_ns: int) -> str:
    """`2026-02-28T14:30:00.123456Z` for nanoseconds since 1970; cut, not rounded, to the microsecond."""
    global _last
    second, rest = divmod(wall_ns, NS_PER_S)
    known, text = _last
    if second != known:
        text = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        _last = (second, text)
    return f"{text}.{rest // 1000:06d}Z"


def rfc3339_or_none(wall_ns: int | None) -> str | None:
    """As `rfc3339`; `None` for no time (0 or `None`)."""
    return rfc3339(wall_ns) if wall_ns else None


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time or a date (its midnight, UTC); raises `ValueError` for anything else.

    Times before 1970 or after `LATEST_NS` are cut to these.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    exact = (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1000
    return max(0, min(exact, LATEST_NS))
