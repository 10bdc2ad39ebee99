"""How often one name may try within a time; bounded in the names it remembers."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

REMEMBERED = 10_000  # names; the longest unseen is forgotten first


class Tries:
    """At most `limit` takes of one name within `window_s`."""

    def __init__(self, limit: int, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._takes: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, name: str) -> float:
        """0 when the name may be taken now, else the seconds until it may."""
        takes = self._takes.get(name)
        if takes is None:
            return 0.0
        now = self._clock()
        while takes and takes[0] <= now - self._window_s:
            takes.popleft()
        return 0.0 if len(takes) < self._limit else takes[0] + self._window_s - now

    def take(self, name: str) -> None:
        """Count one."""
        takes = self._takes.setdefault(name, deque(maxlen=self._limit))
        takes.append(self._clock())
        self._takes.move_to_end(name)
        if len(self._takes) > REMEMBERED:
            self._takes.popitem(last=False)
