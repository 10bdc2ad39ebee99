"""What is counted of calls: one series for each provider, model, team, key and project, one set of series a minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from instance.chute.statistics.histogram import LogHistogram

NS_PER_MINUTE = 60 * 10**9
SERIES_MAX = 1000
ERROR_CODES_MAX = 64
OTHER = "other"


class SeriesKey(NamedTuple):
    """Whose calls a series counts."""

    provider: str
    model: str
    team: str
    key_id: str
    project: str


EVERYTHING_ELSE = SeriesKey(OTHER, OTHER, OTHER, OTHER, OTHER)


class Series:
    """Counters and histograms (microseconds) of one series."""

    __slots__ = (
        "cost_nano",
        "errors",
        "latency_us",
        "outcomes",
        "overhead_us",
        "saved_nano",
        "tokens_cached",
        "tokens_in",
        "tokens_out",
        "ttft_us",
    )

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str], int] = {}
        """Calls by (status, cache)."""
        self.errors: dict[str, int] = {}
        """Calls that failed or were refused, by error code."""
        self.tokens_in = 0
        self.tokens_out = 0
        self.tokens_cached = 0
        self.cost_nano = 0
        self.saved_nano = 0
        self.latency_us = LogHistogram()
        self.ttft_us = LogHistogram()
        self.overhead_us = LogHistogram()

    @property
    def calls(self) -> int:
        return sum(self.outcomes.values())

    @property
    def failed(self) -> int:
        """Calls that ended in an error: neither refused by a module nor given up by the caller."""
        return sum(count for (status, _), count in self.outcomes.items() if status == "error")

    @property
    def cache_hits(self) -> int:
        return sum(count for (_, cache), count in self.outcomes.items() if cache in ("hit", "semantic"))

    def merge(self, other: Series) -> None:
        """Count everything that `other` counted."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        for code, count in other.errors.items():
            self.count_error(code, count)
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out
        self.tokens_cached += other.tokens_cached
        self.cost_nano += other.cost_nano
        self.saved_nano += other.saved_nano
        self.latency_us.merge(other.latency_us)
        self.ttft_us.merge(other.ttft_us)
        self.overhead_us.merge(other.overhead_us)

    def count_error(self, code: str, count: int = 1) -> None:
        """Count errors of a code; beyond `ERROR_CODES_MAX` codes they count as `other`."""
        if code not in self.errors and len(self.errors) >= ERROR_CODES_MAX:
            code = OTHER
        self.errors[code] = self.errors.get(code, 0) + count


class Minutes:
    """The series of the minutes that are not written yet; at most `SERIES_MAX` a minute, what is more counts as one."""

    __slots__ = ("_current", "_minute", "minutes")

    def __init__(self) -> None:
        self.minutes: dict[int, dict[SeriesKey, Series]] = {}
        self._minute = -1
        self._current: dict[SeriesKey, Series] = {}

    def series(self, wall_ns: int, provider: str, model: str, team: str, key_id: str, project: str) -> Series:
        """The series in which a call that began at `wall_ns` is counted."""
        minute = wall_ns // NS_PER_MINUTE
        if minute != self._minute:
            self._minute = minute
            self._current = self.minutes.setdefault(minute, {})
        key = (provider, model, team, key_id, project)  # equal to its SeriesKey, and cheaper to make
        series = self._current.get(key)  # type: ignore[call-overload]
        if series is None:
            added = SeriesKey(*key) if len(self._current) < SERIES_MAX else EVERYTHING_ELSE
            series = self._current.setdefault(added, Series())
        return series  # type: ignore[no-any-return]

    def take_before(self, wall_ns: int) -> list[tuple[int, SeriesKey, Series]]:
        """The series of all minutes that ended before `wall_ns`: `(minute, key, series)`; they are gone from here."""
        ended = [minute for minute in self.minutes if (minute + 1) * NS_PER_MINUTE <= wall_ns]
        taken = [(minute, key, series) for minute in ended for key, series in self.minutes.pop(minute).items()]
        if self._minute in ended:
            self._minute = -1
        return taken

    def __iter__(self) -> Iterator[tuple[SeriesKey, Series]]:
        for series_of in self.minutes.values():
            yield from series_of.items()


def merged(
    rows: Iterator[tuple[SeriesKey, Series]], group: Callable[[SeriesKey], tuple[str, ...]]
) -> dict[tuple[str, ...], Series]:
    """The series added up by what `group` makes of their keys; at most `SERIES_MAX` groups, the rest under `other`."""
    groups: dict[tuple[str, ...], Series] = {}
    for key, series in rows:
        name = group(key)
        if name not in groups and len(groups) >= SERIES_MAX:
            name = group(EVERYTHING_ELSE)
        groups.setdefault(name, Series()).merge(series)
    return groups
