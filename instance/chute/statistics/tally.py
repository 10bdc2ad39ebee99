"""The running statistics of one process: what is counted now, what waits to be written, and totals since the start."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING

from instance.chute.statistics.series import EVERYTHING_ELSE, SERIES_MAX, Minutes, Series, SeriesKey, merged
from instance.chute.statistics.store import MINUTE_S, insert_series, read_series

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.chute.usage import Usage
    from instance.core.core import Core
    from instance.core.principals import Principal

BATCH_CALLS = 64
WRITTEN_AT_ONCE = 50
PENDING_MAX = 20_000

log = logging.getLogger("stockyard.statistics")


Call = tuple[
    int,
    "Target | None",
    "Principal | None",
    str,
    str,
    str,
    str,
    str,
    "Usage",
    list[tuple[str, int]],
    int,
    int,
    int,
    int,
]
"""A call that is over: start (wall), target, principal, team, project, status, cache, error code, usage, cost lines, nano-dollars
saved, then nanoseconds: duration, of which not ours, and until the first content (not above 0 when none came)."""


class Tally:
    """Counts calls by minute and series. Used by the event loop's thread alone; everything in it is bounded.

    Calls are taken as they are and counted in batches: the counting touches much memory, which many calls then share.
    """

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._minutes = Minutes()
        self._pending: list[tuple[int, SeriesKey, Series]] = []
        self._totals: dict[tuple[str, ...], Series] = {}
        self._writing = asyncio.Lock()

    def add(self, call: Call) -> None:
        """Take a call to be counted."""
        calls = self._calls
        calls.append(call)
        if len(calls) >= BATCH_CALLS:
            self.count()

    def count(self) -> None:
        """Count the calls that were taken."""
        calls, self._calls = self._calls, []
        for call in calls:
            (
                wall_ns,
                target,
                principal,
                team,
                project,
                status,
                cache,
                code,
                usage,
                lines,
                saved,
                took,
                not_ours,
                first,
            ) = call
            series = self._minutes.series(
                wall_ns,
                target.provider.name if target is not None else "",
                target.model if target is not None else "",
                team,
                str(principal.key_id) if principal is not None else "",
                project,
            )
            outcome = (status, cache)
            series.outcomes[outcome] = series.outcomes.get(outcome, 0) + 1
            if code:
                series.count_error(code)
            series.tokens_in += usage.input
            series.tokens_out += usage.output
            series.tokens_cached += usage.cached
            for _, nano in lines:
                series.cost_nano += nano
            series.saved_nano += saved
            series.latency_us.add(took // 1000)
            if first > 0:
                series.ttft_us.add(first // 1000)
            series.overhead_us.add(max(0, took - not_ours) // 1000)

    async def write(self, core: Core, *, everything: bool = False) -> None:
        """Write the minutes that are over (or all). What cannot be written now is kept for the next time, within a bound."""
        async with self._writing:
            self.count()
            ended = self._minutes.take_before(1 << 63 if everything else core.clock.wall_ns())
            for _, key, series in ended:
                group = (key.provider, key.model)
                if group not in self._totals and len(self._totals) >= SERIES_MAX:
                    group = EVERYTHING_ELSE[:2]
                self._totals.setdefault(group, Series()).merge(series)
            pending = self._pending
            pending += ended
            if len(pending) > PENDING_MAX:
                log.warning(
                    "the statistics of %d series are dropped: the database takes no writes", len(pending) - PENDING_MAX
                )
                del pending[: len(pending) - PENDING_MAX]
            while pending:
                rows = pending[:WRITTEN_AT_ONCE]

                def insert(connection: sqlite3.Connection, rows: list[tuple[int, SeriesKey, Series]] = rows) -> None:
                    insert_series(connection, MINUTE_S, rows)

                await core.writer.write(insert)
                del pending[: len(rows)]

    async def between(self, core: Core, start_s: int, end_s: int) -> Series:
        """All calls that began from `start_s` until before `end_s` (seconds since 1970), written or not, as one series."""
        async with self._writing:
            stored = await core.database.read(lambda connection: list(read_series(connection, start_s, end_s)))
            self.count()
            total = Series()
            for _, _, series in stored:
                total.merge(series)
            for minute, _, series in self._pending:
                if start_s <= minute * MINUTE_S < end_s:
                    total.merge(series)
            for minute, series_of in self._minutes.minutes.items():
                if start_s <= minute * MINUTE_S < end_s:
                    for series in series_of.values():
                        total.merge(series)
        return total

    def totals(self) -> dict[tuple[str, ...], Series]:
        """Everything since the process began, by (provider, model)."""
        self.count()
        rows = [(SeriesKey(provider, model, "", "", ""), series) for (provider, model), series in self._totals.items()]
        rows += list(self._minutes)
        return merged(iter(rows), lambda key: (key.provider, key.model))
