"""Histograms that can be merged without losing accuracy, after DDSketch (Masson, Rim, Lee 2019, https://arxiv.org/abs/1908.10693)."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, exp, log

import orjson

RELATIVE_ERROR = 0.02
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG = 1 / log(_GAMMA)
_CENTRE = 2 / (_GAMMA + 1)


class LogHistogram:
    """Counts of values from 1 up in buckets that grow by 4 %: a quantile is at most 2 % off. Values below 1 count as 1."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.sum = 0

    def add(self, value: int) -> None:
        """Count one value, an integer."""
        self.sum += value
        bucket = ceil(log(value) * _PER_LOG) if value > 1 else 0
        counts = self.counts
        counts[bucket] = counts.get(bucket, 0) + 1

    def add_all(self, values: Iterable[int]) -> None:
        """Count each of the values."""
        counts = self.counts
        total = 0
        for value in values:
            total += value
            bucket = ceil(log(value) * _PER_LOG) if value > 1 else 0
            counts[bucket] = counts.get(bucket, 0) + 1
        self.sum += total

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def merge(self, other: LogHistogram) -> None:
        """Count everything that `other` counted."""
        counts = self.counts
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        self.sum += other.sum

    def quantile(self, share: float) -> float | None:
        """The value below which `share` (0..1) of all lie; `None` when there are none."""
        found = self.quantiles(share)
        return found[0] if found else None

    def quantiles(self, *shares: float) -> list[float]:
        """The values below which the shares (0..1, rising) of all lie; empty when there are none."""
        found: list[float] = []
        last = self.count - 1
        seen = 0
        for bucket, count in sorted(self.counts.items()):
            seen += count
            while len(found) < len(shares) and seen > shares[len(found)] * last:
                found.append(exp(bucket / _PER_LOG) * _CENTRE if bucket else 1.0)
        return found

    def at_most(self, value: float) -> int:
        """How many values are at most `value`, within the relative error."""
        limit = log(value) * _PER_LOG if value > 1 else 0.0
        return sum(count for bucket, count in self.counts.items() if bucket <= limit)

    def encode(self) -> bytes:
        """The histogram in a few bytes, for a table."""
        flat = [self.sum]
        for bucket in sorted(self.counts):
            flat += (bucket, self.counts[bucket])
        return orjson.dumps(flat)

    @classmethod
    def decode(cls, data: bytes) -> LogHistogram:
        """What `encode` made."""
        histogram = cls()
        flat: list[int] = orjson.loads(data)
        histogram.sum = flat[0]
        histogram.counts = dict(zip(flat[1::2], flat[2::2], strict=True))
        return histogram
