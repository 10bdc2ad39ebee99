"""All series of answers of an instance: tested as their answers come, told of, and stored."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from instance.chute.modules.observe import drift_store as store
from instance.chute.modules.observe.drift_events import DriftEvents
from instance.chute.modules.observe.drift_series import DriftSeries, Finding, Sample
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

SERIES_MAX = 100
STORED_EVERY_NS = 300 * 10**9


class DriftTable:
    """Series by name. Of `metrics` a round each `every_n` answers tells what differs, at `alpha` and from `min_effect` on."""

    def __init__(
        self,
        core: Core,
        events: DriftEvents,
        metrics: tuple[str, ...],
        *,
        baseline_n: int,
        window_n: int,
        every_n: int,
        alpha: float,
        min_effect: float,
    ) -> None:
        self._core = core
        self._events = events
        self._metrics = metrics
        self._baseline_n = baseline_n
        self._window_n = window_n
        self._every_n = every_n
        self._alpha = alpha
        self._min_effect = min_effect
        self._stored_ns = 0
        self.series: dict[str, DriftSeries] = {}

    async def load(self) -> None:
        """Take up the stored baselines, and what had drifted."""
        read = self._core.database.read
        for name, samples in (await read(partial(store.baselines, limit=SERIES_MAX))).items():
            series = self.series[name] = DriftSeries(self._baseline_n, self._window_n)
            for sample in samples[: self._baseline_n]:
                series.add(sample)
            series.changed = False
        for event_id, name, metric in await read(store.open_events):
            if name in self.series:
                self.series[name].open[metric] = event_id

    def take_over(self, before: DriftTable) -> None:
        """Go on with the series of a table with other settings."""
        self.series = before.series
        for series in self.series.values():
            series.baseline_n = self._baseline_n
            del series.baseline[self._baseline_n :]
            series.window = deque(series.window, maxlen=self._window_n)

    async def add(self, name: str, sample: Sample) -> bool:
        """Take an answer, and test what is due; `False` where there are too many series for one more."""
        series = self.series.get(name)
        if series is None:
            if len(self.series) >= SERIES_MAX:
                return False
            series = self.series[name] = DriftSeries(self._baseline_n, self._window_n)
        for finding in series.add(sample):
            if finding.metric in self._metrics:
                await self._events.begin(name, finding)
        if series.is_complete and series.is_due(self._every_n):
            for finding in await asyncio.to_thread(series.round, self._metrics, self._alpha, self._min_effect):
                await self._settle(name, series, finding)
        return True

    async def _settle(self, name: str, series: DriftSeries, finding: Finding) -> None:
        """Tell what begins to differ once, and that it is gone once it is."""
        event_id = series.open.get(finding.metric)
        if finding.drifted and event_id is None:
            series.open[finding.metric] = await self._events.begin(name, finding)
        elif not finding.drifted and event_id is not None:
            del series.open[finding.metric]
            await self._events.end(event_id)

    async def store(self, *, everything: bool = False) -> None:
        """Store baselines that are complete now; those that grow still, every few minutes."""
        now = self._core.clock.mono_ns()
        partly = everything or now - self._stored_ns > STORED_EVERY_NS
        if partly:
            self._stored_ns = now
        for name, series in list(self.series.items()):
            if series.changed and (partly or series.is_complete):
                series.changed = False
                samples = series.baseline[:]
                save = partial(store.save_baseline, series=name, samples=samples, now_ns=self._core.clock.wall_ns())
                await self._core.writer.write(save)

    def restartable(self, name: str, *, take_window: bool) -> DriftSeries:
        """The series that is to have a new baseline. Raises `not_found`, `conflict`."""
        series = self.series.get(name)
        if series is None:
            raise StockyardError("not_found", f"There is no series {name[:200]!r}.")
        if take_window and len(series.window) < self._window_n:
            raise StockyardError("conflict", f"There are {len(series.window)} answers since the baseline: too few.")
        return series

    async def restart(self, name: str, series: DriftSeries, *, take_window: bool) -> None:
        """Give a series its new baseline: what drifted ends."""
        series.baseline_n = self._baseline_n
        series.restart(take_window=take_window)
        for event_id in series.open.values():
            await self._events.end(event_id)
        series.open.clear()
        await self._core.writer.write(partial(store.delete_baseline, series=name))
