"""What a module did and what it cost: counters and a histogram of nanoseconds, kept while the process lives."""

from __future__ import annotations

from weakref import ref

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


class Finished:
    """How many calls of a plan came how far: place of the last module that they reached -> calls."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at: dict[int, int] = {}

    def reached(self, place: int) -> int:
        """The calls that reached the module at this place."""
        return sum(calls for last, calls in self.at.items() if last >= place)


class Meter:
    """One module's counters: calls it saw, calls it changed (left a decision on), calls it refused, own failures.

    Calls are counted once for all modules of a plan, and added up when somebody asks. The histogram holds the runs of its hooks in
    every eighth call, but for those of `on_delta`.
    """

    __slots__ = ("_plans", "blocked", "changed", "errors", "histogram", "last_error", "own_calls")

    def __init__(self) -> None:
        self.own_calls = 0
        """Those that are counted one by one, and those of plans that are gone."""
        self._plans: list[tuple[ref[object], Finished, int]] = []
        self.changed = 0
        self.blocked = 0
        self.errors = 0
        self.last_error = ""
        self.histogram = Histogram()

    def count_in(self, plan: object, finished: Finished, place: int) -> None:
        """Count the calls of a plan too, in which the module has this place."""
        living = []
        for each in self._plans:
            if each[0]() is None:
                self.own_calls += each[1].reached(each[2])
            else:
                living.append(each)
        self._plans = [*living, (ref(plan), finished, place)]

    @property
    def calls(self) -> int:
        return self.own_calls + sum(finished.reached(place) for _, finished, place in self._plans)
