"""The running statistics of one process: what is counted now, what waits to be written, and totals since the start."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from typing import TYPE_CHECKING

from instance.chute.statistics.series import EVERYTHING_ELSE, SERIES_MAX, Minutes, Series, SeriesKey, merged
from instance.chute.statistics.store import MINUTE_S, insert_series, read_series

if TYPE_CHECKING:
    from instance.core.core import Core

WRITTEN_AT_ONCE = 50
PENDING_MAX = 20_000

log = logging.getLogger("stockyard.statistics")


class Tally:
    """Counts calls by minute and series. Used by the event loop's thread alone; everything in it is bounded."""

    def __init__(self) -> None:
        self.minutes = Minutes()
        self._pending: list[tuple[int, SeriesKey, Series]] = []
        self._totals: dict[tuple[str, ...], Series] = {}
        self._writing = asyncio.Lock()

    async def write(self, core: Core, *, everything: bool = False) -> None:
        """Write the minutes that are over (or all). What cannot be written now is kept for the next time, within a bound."""
        async with self._writing:
            ended = self.minutes.take_before(1 << 63 if everything else core.clock.wall_ns())
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
            total = Series()
            for _, _, series in stored:
                total.merge(series)
            for minute, _, series in self._pending:
                if start_s <= minute * MINUTE_S < end_s:
                    total.merge(series)
            for minute, series_of in self.minutes.minutes.items():
                if start_s <= minute * MINUTE_S < end_s:
                    for series in series_of.values():
                        total.merge(series)
        return total

    def totals(self) -> dict[tuple[str, ...], Series]:
        """Everything since the process began, by (provider, model)."""
        rows = [(SeriesKey(provider, model, "", "", ""), series) for (provider, model), series in self._totals.items()]
        rows += list(self.minutes)
        return merged(iter(rows), lambda key: (key.provider, key.model))
