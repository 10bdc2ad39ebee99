"""What drifted: told in the log, stored, and counted for the alert metric `drift`."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from instance.chute.modules.observe import drift_store as store
from instance.chute.modules.observe.drift_series import Finding

if TYPE_CHECKING:
    from instance.core.core import Core

NS_PER_S = 10**9
RECENT_NS = 86_400 * NS_PER_S
RECENT_MAX = 1000

log = logging.getLogger("stockyard.modules")


class DriftEvents:
    """The events of an instance, of which the latest are at hand."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._recent: deque[tuple[int, str]] = deque(maxlen=RECENT_MAX)

    async def load(self) -> None:
        """Take up what drifted lately."""
        since_ns = self._core.clock.wall_ns() - RECENT_NS
        rows = await self._core.database.read(partial(store.events, limit=RECENT_MAX, since_ns=since_ns))
        self._recent.extend((row[7], row[1]) for row in reversed(rows))

    async def begin(self, series: str, finding: Finding) -> int:
        """Tell what begins to differ; the event's id."""
        now_ns = self._core.clock.wall_ns()
        self._recent.append((now_ns, series))
        log.warning("%s drifted in %s: %s, before %s", series, finding.metric, finding.now, finding.before)
        return await self._core.writer.write(partial(store.begin_event, series=series, finding=finding, now_ns=now_ns))

    async def end(self, event_id: int) -> None:
        """It is gone."""
        await self._core.writer.write(partial(store.end_event, event_id=event_id, now_ns=self._core.clock.wall_ns()))

    def recent(self, narrowed: Mapping[str, str], window_s: int) -> float:
        """How many drifts began in the last `window_s`; narrowed by provider and model."""
        since_ns = self._core.clock.wall_ns() - window_s * NS_PER_S
        count = 0
        for at_ns, series in self._recent:
            provider, _, model = series.partition(" ")[0].partition("/")
            fits = fnmatchcase(model, narrowed.get("model", "*")) and provider == narrowed.get("provider", provider)
            count += at_ns >= since_ns and fits
        return float(count)
