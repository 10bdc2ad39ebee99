"""How long wakes take, measured: for the times to repeat a call at, and for the operator's figures."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections import deque
from statistics import median
from typing import Any

# Until wakes were seen: a process from the template, with eight starts at once.
FIRST_GUESS_S = 0.06
RECENT = 64  # wakes that the pace is taken from
OLD_S = 60.0  # a pause longer than this between two ended wakes is no pace
BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
MARGIN = 1.25  # on an estimate, so that who comes at the time said finds its tenant awake
RETRY_MOST_S = 600


def monotonic() -> float:
    """Seconds that only ever grow: the running loop's, as everything that waits here goes by."""
    return asyncio.get_running_loop().time()


class Pace:
    """Seconds from one ended wake to the next while others wait: the median, so that one that was stuck says nothing."""

    def __init__(self) -> None:
        self._gaps: deque[float] = deque(maxlen=RECENT)
        self._ended_at: float | None = None

    def ended(self, begun_at: float, others_wait: bool) -> None:
        """A wake has ended; `others_wait` = some were and are behind it, so that the next end tells the pace.

        `begun_at`, by `monotonic`: what passed before it was begun is no part of the pace.
        """
        now = monotonic()
        if self._ended_at is not None and now - self._ended_at < OLD_S:
            self._gaps.append(now - max(self._ended_at, begun_at))
        self._ended_at = now if others_wait else None

    def wait_s(self, ahead: int) -> float:
        """Until a wake with so many ahead of it ends."""
        gap = median(self._gaps) if self._gaps else FIRST_GUESS_S
        return (ahead + 1) * gap


def retry_after_s(expected_s: float) -> int:
    """Whole seconds after which a call is worth repeating."""
    return max(1, min(RETRY_MOST_S, math.ceil(expected_s * MARGIN)))


class Histogram:
    """Counts of seconds by upper bound, cumulative as Prometheus has them."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BUCKETS_S, seconds)] += 1
        self._sum += seconds

    def shape(self) -> dict[str, Any]:
        """`buckets` is a list of `[upper bound in seconds, how many were at most that]`."""
        total, buckets = 0, []
        for bound, count in zip(BUCKETS_S, self._counts, strict=False):
            total += count
            buckets.append([bound, total])
        return {"buckets": buckets, "count": sum(self._counts), "sum": round(self._sum, 6)}
