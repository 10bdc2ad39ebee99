"""What the tenant's plan allows the whole instance: requests a minute and calls a month. Held by the instance itself, so also
while the control plane is away; the month's count is in the database and survives a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from instance.billing.periods import MINUTE_NS, calendar_window
from instance.core.errors import StockyardError
from instance.core.request_rate import next_arrival_ns
from instance.core.timestamps import rfc3339
from instance.lookout.call_rows import call_sums

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.records import Record

_ADD = "INSERT INTO quota_months VALUES (?, ?) ON CONFLICT DO UPDATE SET calls = calls + excluded.calls"


def fold_quota(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Fold of calls: add those that were served to their month."""
    months: dict[int, int] = {}
    for calls in call_sums(records):
        if calls.provider or calls.status == "cache_hit":
            starts_ns, _ = calendar_window("month", calls.minute * MINUTE_NS)
            months[starts_ns // MINUTE_NS] = months.get(starts_ns // MINUTE_NS, 0) + calls.calls
    if months:
        connection.executemany(_ADD, months.items())


def calls_of_month(connection: sqlite3.Connection, starts_ns: int) -> int:
    """The calls on record for the month that starts then."""
    row = connection.execute("SELECT calls FROM quota_months WHERE starts_minute = ?", (starts_ns // MINUTE_NS,))
    found = row.fetchone()
    return int(found[0]) if found is not None else 0


class PlanQuota:
    """Counts this month's calls, and refuses what the plan does not allow. Used by the event loop's thread alone.

    A call counts when a provider or a cache served it; one that is refused costs nothing of the quota.
    """

    def __init__(self, now_ns: int) -> None:
        self.rpm = 0
        self.requests_month = 0
        self.served_most = 0
        """Calls of a month that are served at all: those of the plan and its grace."""
        self.calls = 0
        self._running = 0
        self._arrival_ns = 0
        self.starts_ns, self._ends_ns = calendar_window("month", now_ns)

    @property
    def limits(self) -> bool:
        """Whether there is anything to ask."""
        return bool(self.rpm or self.requests_month)

    def set(self, quotas: Mapping[str, Any]) -> None:
        """Take the limits of a pushed state; what is absent or no positive integer is no limit, and no grace."""
        self.rpm = _positive(quotas.get("rpm"))
        self.requests_month = _positive(quotas.get("requests_month"))
        grace = self.requests_month * _positive(quotas.get("quota_grace_percent")) // 100
        self.served_most = self.requests_month + grace

    def described(self, now_ns: int) -> dict[str, Any] | None:
        """How much of the month's calls is used; None without such a limit."""
        if not self.requests_month:
            return None
        self._roll(now_ns)
        return {
            "month": rfc3339(self.starts_ns)[:7],
            "calls": self.calls,
            "limit": self.requests_month,
            "served_most": self.served_most,
        }

    def admit(self, x: Exchange) -> None:
        """Raise `rate_limited` or `quota_exceeded` when the plan has nothing left for this call."""
        now_ns = x.started_wall_ns
        self._roll(now_ns)
        if self.requests_month and self.calls + self._running >= self.requests_month:
            self._passed(x)
        if self.rpm:
            self._pace(x.started_ns)
        self._running += 1
        x.state["quota"] = self

    def _roll(self, now_ns: int) -> None:
        """Begin the next month when the present one is over."""
        if now_ns >= self._ends_ns:
            self.starts_ns, self._ends_ns = calendar_window("month", now_ns)
            self.calls = 0

    def _passed(self, x: Exchange) -> None:
        """The plan's calls are used up: served within the grace, and the caller is told; refused beyond it."""
        used_up = f"The plan's {self.requests_month} calls of this month are used up"
        detail = {"limit": self.requests_month, "used": self.calls, "resets_at": rfc3339(self._ends_ns)}
        if self.calls + self._running >= self.served_most:
            message = f"{used_up}; the next month begins at {rfc3339(self._ends_ns)}, a larger plan at once."
            raise StockyardError("quota_exceeded", message, details=detail)
        x.warnings.append(f"{used_up}; {self.served_most} are served")
        x.note("quota_passed", {**detail, "served_most": self.served_most}, module="core", hook="admit")

    def _pace(self, mono_ns: int) -> None:
        self._arrival_ns, wait_s = next_arrival_ns(self._arrival_ns, mono_ns, self.rpm)
        if wait_s:
            raise StockyardError(
                "rate_limited",
                f"The plan allows {self.rpm} requests a minute; wait {wait_s} s.",
                headers={"Retry-After": str(wait_s)},
            )

    def settle(self, x: Exchange) -> None:
        """The call is over; to be called once for each that was admitted."""
        if x.state.pop("quota", None) is None:
            return
        self._running -= 1
        if x.started_wall_ns >= self.starts_ns and (x.attempts or x.status == "cache_hit"):
            self.calls += 1


def _positive(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
