"""What a module did and what it cost: counters and a histogram of nanoseconds, kept while the process lives."""

from __future__ import annotations

_SUB_BITS = 2
_BUCKETS = 64 << _SUB_BITS


def _upper_ns(bucket: int) -> int:
    bits, part = bucket >> _SUB_BITS, bucket & 3
    return (5 + part) << (bits - 3) if bits > 2 else 4


class Histogram:
    """Counts of durations in buckets a fifth apart (four to each power of two); fixed size."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS

    def add(self, ns: int) -> None:
        bits = ns.bit_length()
        self.counts[bits << 2 | (ns >> (bits - 3)) & 3 if bits > 2 else 0] += 1

    def quantile_us(self, share: float) -> float | None:
        """The duration in microseconds below which `share` of all lie (upper bound of its bucket); `None` when empty."""
        total = sum(self.counts)
        if not total:
            return None
        wanted, seen = share * total, 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return round(_upper_ns(bucket) / 1000, 3)
        return None


class Meter:
    """One module's counters: calls it saw, calls it changed (left a decision on), calls it refused, own failures.

    The histogram holds the runs of its hooks in every eighth call, but for those of `on_delta`.
    """

    __slots__ = ("blocked", "calls", "changed", "errors", "histogram", "last_error")

    def __init__(self) -> None:
        self.calls = 0
        self.changed = 0
        self.blocked = 0
        self.errors = 0
        self.last_error = ""
        self.histogram = Histogram()
