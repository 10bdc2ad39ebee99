"""A rule of an alert: what is watched, of which calls, and from where on it is a matter."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Condition = Literal["gt", "gte", "lt", "lte", "eq"]
Channel = Literal["log", "webhook", "slack", "discord", "teams", "email", "events"]
Severity = Literal["info", "warning", "critical"]

CONDITIONS: dict[str, Condition] = {
    "gt": "gt",
    "gte": "gte",
    "lt": "lt",
    "lte": "lte",
    "eq": "eq",
    ">": "gt",
    ">=": "gte",
    "<": "lt",
    "<=": "lte",
    "==": "eq",
    "above": "gt",
    "below": "lt",
}
"""Every spelling of a condition."""

_COMPARE: dict[Condition, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
}
SIGNS: dict[Condition, str] = {"gt": ">", "gte": "≥", "lt": "<", "lte": "≤", "eq": "="}

CALL_METRICS: dict[str, str] = {
    "error_rate": "%",
    "latency_avg": "ms",
    "latency_p50": "ms",
    "latency_p95": "ms",
    "latency_p99": "ms",
    "ttft_p95": "ms",
    "overhead_p99": "µs",
    "cost_total": "USD",
    "cost_per_min": "USD a minute",
    "count": "calls",
    "request_rate": "calls a minute",
    "tokens_per_request": "tokens",
    "tokens_per_min": "tokens a minute",
    "provider_errors": "failed attempts",
    "blocked_rate": "%",
    "cache_hit_rate": "%",
    "safety_findings": "findings",
    "code_findings": "findings",
}
"""Metrics of calls, with their units."""

GAUGE_METRICS: dict[str, str] = {
    "provider_down": "providers",
    "breaker_open": "targets",
    "budget_used": "%",
    "drift": "drifts",
    "thumbs_down_rate": "%",
    "approvals_waiting": "tickets",
    "embedder_late": "waits",
}
"""Metrics that something else knows (`Alerts.gauges`); without data while it is off."""

ALIASES = {"cost_usd": "cost_total"}
UNITS = CALL_METRICS | GAUGE_METRICS

USUAL_METRICS = frozenset(
    (
        "error_rate",
        "latency_avg",
        "cost_total",
        "cost_per_min",
        "count",
        "request_rate",
        "tokens_per_request",
        "tokens_per_min",
        "cache_hit_rate",
    )
)
"""Metrics whose usual value is known from the sums by hour."""

FILTER_FIELDS = ("model", "provider", "project", "team", "key", "tag")
HYSTERESIS = 0.1
"""A rule that fires is over when the value is a tenth of the threshold on the good side."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Seconds as the names say; `threshold` in the metric's unit, unless `times_usual` says how many times the
    value of the same hour of the last 7 days it is."""

    id: int
    name: str
    metric: str
    condition: Condition = "gt"
    threshold: float = 0.0
    times_usual: float = 0.0
    window_seconds: int = 300
    min_requests: int = 0
    filter: Mapping[str, str] = field(default_factory=dict)
    for_s: int = 0
    cooldown_seconds: int = 3600
    severity: Severity = "warning"
    channel: Channel = "log"
    channel_config: Mapping[str, Any] = field(default_factory=dict)
    """Without what is secret of it."""
    silences: tuple[Mapping[str, Any], ...] = ()
    """`{from_ns, to_ns, filter}`."""
    enabled: bool = True
    created_at_ns: int = 0

    def spec(self) -> dict[str, Any]:
        """The rule as JSON values, for storage."""
        values = asdict(self)
        for name in ("id", "name", "enabled", "created_at_ns"):
            del values[name]
        return values

    def holds(self, value: float, threshold: float) -> bool:
        """Whether the value is on the bad side."""
        return _COMPARE[self.condition](value, threshold)

    def is_over(self, value: float, threshold: float) -> bool:
        """Whether the value is so far on the good side that a firing alert is over."""
        if self.condition == "eq" or not threshold:
            return not self.holds(value, threshold)
        margin = abs(threshold) * HYSTERESIS
        if self.condition in ("gt", "gte"):
            return value <= threshold - margin
        return value >= threshold + margin

    def is_silent(self, now_ns: int) -> bool:
        """Whether a silence holds now: nobody is told, though the state goes on."""
        return any(
            silence["from_ns"] <= now_ns < silence["to_ns"]
            and all(self.filter.get(name) == value for name, value in (silence.get("filter") or {}).items())
            for silence in self.silences
        )
