"""Caps on usage: how many requests and tokens each value of a dimension may have in a period."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instance.billing.periods import calendar_window
from instance.chute.call_identity import key_id
from instance.chute.exchange import Exchange
from instance.chute.modules.cost.usage_buckets import COUNTS, DAY_S, DIMENSIONS, HOUR_S, MINUTE_S, NS_PER_S, TAG, totals

COUNTERS_MAX = 50_000
"""Values that one cap counts in a period; beyond it those that were used longest ago are forgotten."""

_STORED_AS = {"minute": MINUTE_S, "hour": MINUTE_S, "day": HOUR_S, "week": DAY_S, "month": DAY_S}


class Cap(BaseModel):
    """So much may each value that fits the glob use in a period (calendar, UTC)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimension: str = Field(
        min_length=1, max_length=68, description="team, key, user, model, provider, project, operation, or a tag."
    )
    value: str = Field(
        default="*", min_length=1, max_length=256, description="Glob of the values; each has its own count."
    )
    period: Literal["minute", "hour", "day", "week", "month"] = Field(description="Over which it counts, in UTC.")
    requests: int = Field(default=0, ge=0, le=10**12, description="Requests in the period; 0: no cap.")
    tokens: int = Field(default=0, ge=0, le=10**15, description="Tokens, in and out, in the period; 0: no cap.")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.requests and not self.tokens:
            raise ValueError("a cap needs requests or tokens")
        return self


class Count:
    """What a value used so far."""

    __slots__ = ("requests", "tokens")

    def __init__(self, requests: int = 0, tokens: int = 0) -> None:
        self.requests = requests
        self.tokens = tokens


class CapCounter:
    """One cap with the counts of the current period."""

    def __init__(self, cap: Cap, dimension: str) -> None:
        self.cap = cap
        self.dimension = dimension
        self.most_requests, self.most_tokens = cap.requests, cap.tokens
        """0: no cap."""
        self.value_of: Callable[[Exchange], str | None] = _VALUE_OF.get(dimension) or _tag(dimension.removeprefix(TAG))
        """The call's value before it is made: model and provider are those chosen first; `None` without the tag."""
        self.counts: OrderedDict[str, Count] = OrderedDict()
        self.start_ns = self.end_ns = 0

    def roll(self, now_ns: int) -> None:
        """Begin anew when the period is over."""
        if not self.start_ns <= now_ns < self.end_ns:
            self.start_ns, self.end_ns = calendar_window(self.cap.period, now_ns)
            self.counts = OrderedDict()

    def load(self, connection: sqlite3.Connection, now_ns: int) -> None:
        """Take over what is on record for the current period."""
        self.roll(now_ns)
        resolution_s = _STORED_AS[self.cap.period]
        rows = totals(connection, resolution_s, self.start_ns // NS_PER_S, self.end_ns // NS_PER_S, self.dimension)
        for row in [row for row in rows if fits(self, row.value)][-COUNTERS_MAX:]:
            used = dict(zip(COUNTS, row.counts, strict=True))
            self.counts[row.value] = Count(used["requests"] - used["blocked"], used["tokens_in"] + used["tokens_out"])

    def take_over(self, before: CapCounter) -> None:
        """Count on with what another cap on the same dimension and period counts, also for calls that still run."""
        same = before.dimension == self.dimension and before.cap.period == self.cap.period
        if same and before.start_ns == self.start_ns:
            for value, count in before.counts.items():
                if fits(self, value):
                    self.counts[value] = count
            while len(self.counts) > COUNTERS_MAX:
                self.counts.popitem(last=False)

    def of(self, value: str) -> Count:
        """The count of a value."""
        count = self.counts.get(value)
        if count is None:
            count = self.counts[value] = Count()
            if len(self.counts) > COUNTERS_MAX:
                self.counts.popitem(last=False)
        else:
            self.counts.move_to_end(value)
        return count

    def is_used_up(self, count: Count) -> str:
        """What is used up: `requests` or `tokens`; empty while there is something left."""
        if self.most_requests and count.requests >= self.most_requests:
            return "requests"
        return "tokens" if self.most_tokens and count.tokens >= self.most_tokens else ""


def dimension_named(name: str, tags: Sequence[str]) -> str:
    """The dimension behind a name of the settings: one of `DIMENSIONS`, `tag:NAME`, or the bare name of a metered tag.

    Raises `ValueError` for a name that is none of them.
    """
    if name in DIMENSIONS or (name.startswith(TAG) and len(name) > len(TAG)):
        return name
    if name in tags:
        return TAG + name
    raise ValueError(f"{name!r} is no dimension: use {', '.join(DIMENSIONS)}, or tag:NAME")


def _tag(name: str) -> Callable[[Exchange], str | None]:
    return lambda x: x.tags.get(name)


def _asked_model(x: Exchange) -> str:
    return x.targets[0].model if x.targets else x.model_requested


def _asked_provider(x: Exchange) -> str:
    return x.targets[0].provider.name if x.targets else ""


def _operation(x: Exchange) -> str:
    return x.operation.name


_VALUE_OF: dict[str, Callable[[Exchange], str]] = {
    "team": attrgetter("team"),
    "key": key_id,
    "user": attrgetter("user"),
    "model": _asked_model,
    "provider": _asked_provider,
    "project": attrgetter("project"),
    "operation": _operation,
}


def fits(counter: CapCounter, value: str) -> bool:
    """Whether the cap holds for the value."""
    return fnmatchcase(value, counter.cap.value)
