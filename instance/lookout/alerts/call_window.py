"""The calls of the last while that fit a filter, counted in buckets of a second or longer, and their metrics."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import ceil
from typing import NamedTuple

from instance.chute.statistics.histogram import LogHistogram
from instance.core.money import nano_to_usd

BUCKETS_MAX = 900
"""In a window; a longer window has longer buckets."""
SAMPLES_MAX = 5


class CallFacts(NamedTuple):
    """What alerts need to know of a call that is over. Times in microseconds; `ttft_us` is 0 when no content came."""

    ended_s: int
    trace_id: str
    provider: str
    model: str
    model_requested: str
    project: str
    team: str
    key_id: str
    tags: Mapping[str, str]
    status: str
    tokens: int
    cost_nano: int
    duration_us: int
    ttft_us: int
    overhead_us: int
    failed_attempts: int
    safety_count: int
    code_findings: int = 0
    """What codefence found in its answer."""


def fits(call: CallFacts, narrowed: Mapping[str, str]) -> bool:
    """Whether a call is one of those that a filter names. Models are globs of the served or the asked name."""
    for name, wanted in narrowed.items():
        if name == "model":
            if not (fnmatchcase(call.model, wanted) or fnmatchcase(call.model_requested, wanted)):
                return False
        elif name == "tag":
            tag, equals, value = wanted.partition("=")
            if tag not in call.tags or (equals and call.tags[tag] != value):
                return False
        elif getattr(call, "key_id" if name == "key" else name) != wanted:
            return False
    return True


COUNTS = (
    "calls",
    "failed",
    "blocked",
    "cache_hits",
    "tokens",
    "cost_nano",
    "failed_attempts",
    "safety",
    "code_findings",
)


class Bucket:
    """Counts of the calls that ended in one bucket."""

    __slots__ = (
        "blocked",
        "cache_hits",
        "calls",
        "code_findings",
        "cost_nano",
        "duration_us",
        "failed",
        "failed_attempts",
        "overhead_us",
        "safety",
        "samples",
        "tokens",
        "ttft_us",
    )

    def __init__(self) -> None:
        self.calls = self.failed = self.blocked = self.cache_hits = 0
        self.tokens = self.cost_nano = self.failed_attempts = self.safety = self.code_findings = 0
        self.duration_us = LogHistogram()
        self.ttft_us = LogHistogram()
        self.overhead_us = LogHistogram()
        self.samples: list[str] = []
        """Trace ids of calls that failed, were refused or had findings; the latest."""

    def add(self, call: CallFacts) -> None:
        self.calls += 1
        if call.status == "error":
            self.failed += 1
        elif call.status == "blocked":
            self.blocked += 1
        elif call.status == "cache_hit":
            self.cache_hits += 1
        self.tokens += call.tokens
        self.cost_nano += call.cost_nano
        self.failed_attempts += call.failed_attempts
        self.safety += call.safety_count
        self.code_findings += call.code_findings
        self.duration_us.add(call.duration_us)
        if call.ttft_us > 0:
            self.ttft_us.add(call.ttft_us)
        self.overhead_us.add(call.overhead_us)
        if call.status in ("error", "blocked") or call.safety_count:
            self.samples.append(call.trace_id)
            del self.samples[:-SAMPLES_MAX]

    def merge(self, other: Bucket) -> None:
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.duration_us.merge(other.duration_us)
        self.ttft_us.merge(other.ttft_us)
        self.overhead_us.merge(other.overhead_us)
        self.samples = (self.samples + other.samples)[-SAMPLES_MAX:]

    def value(self, metric: str, window_s: int) -> float | None:
        """The value of a metric of calls; `None` when there is nothing to take it of."""
        minutes = window_s / 60
        if metric == "count":
            return float(self.calls)
        if metric == "request_rate":
            return self.calls / minutes
        if metric == "cost_total":
            return nano_to_usd(self.cost_nano)
        if metric == "cost_per_min":
            return nano_to_usd(self.cost_nano) / minutes
        if metric == "tokens_per_min":
            return self.tokens / minutes
        if metric == "provider_errors":
            return float(self.failed_attempts)
        if metric == "safety_findings":
            return float(self.safety)
        if metric == "code_findings":
            return float(self.code_findings)
        return self._of_calls(metric) if self.calls else None

    def _of_calls(self, metric: str) -> float | None:
        if metric in ("error_rate", "blocked_rate", "cache_hit_rate"):
            part = {"error_rate": self.failed, "blocked_rate": self.blocked, "cache_hit_rate": self.cache_hits}[metric]
            return 100.0 * part / self.calls
        if metric == "tokens_per_request":
            return self.tokens / self.calls
        if metric == "latency_avg":
            return self.duration_us.sum / self.calls / 1000
        name, _, percent = metric.rpartition("_p")
        histogram = {"latency": self.duration_us, "ttft": self.ttft_us, "overhead": self.overhead_us}[name]
        value = histogram.quantile(int(percent) / 100)
        if value is None:
            return None
        return value if name == "overhead" else value / 1000


def bucket_s(window_s: int) -> int:
    """Seconds of a bucket of a window that long."""
    return max(1, ceil(window_s / BUCKETS_MAX))


class CallWindow:
    """The buckets of the calls that fit one filter. `span_s` is the longest time that is asked of it."""

    __slots__ = ("buckets", "length_s", "narrowed", "since_ns", "span_s")

    def __init__(self, narrowed: Mapping[str, str], length_s: int, since_ns: int) -> None:
        self.narrowed = narrowed
        self.length_s = length_s
        self.span_s = 0
        self.since_ns = since_ns
        """From when on calls are told to it; what ended before is read from what is recorded."""
        self.buckets: dict[int, Bucket] = {}

    def add(self, call: CallFacts) -> None:
        """Count the call if it fits."""
        if self.narrowed and not fits(call, self.narrowed):
            return
        place = call.ended_s // self.length_s
        bucket = self.buckets.get(place)
        if bucket is None:
            bucket = self.buckets[place] = Bucket()
        bucket.add(call)

    def last(self, window_s: int, now_s: int) -> Bucket:
        """All calls of the last `window_s` as one."""
        total = Bucket()
        first = (now_s - window_s) // self.length_s
        for place in sorted(self.buckets):
            if place > first:
                total.merge(self.buckets[place])
        return total

    def forget(self, now_s: int) -> None:
        """Drop what is older than is ever asked."""
        oldest = (now_s - self.span_s) // self.length_s
        for place in [place for place in self.buckets if place < oldest]:
            del self.buckets[place]
