"""Bounds on what may be asked in a minute."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from control_plane.errors import CloudError

REMEMBERED = 10_000  # credentials; the longest unseen is forgotten first


class RequestRate:
    """Requests of one credential: a burst of `per_minute`, refilled evenly (GCRA)."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = 60.0 / per_minute
        self._clock = clock
        self._due: OrderedDict[str, float] = OrderedDict()  # when the credential's allowance is full again

    def take(self, credential: str) -> None:
        """Count a request, or raise `rate_limited` with Retry-After."""
        now = self._clock()
        due = max(self._due.get(credential, now), now) + self._interval_s
        if due - now > 60.0:
            retry = {"Retry-After": str(math.ceil(due - now - 60.0))}
            raise CloudError("rate_limited", "too many requests with this key; wait a moment", headers=retry)
        self._due[credential] = due
        self._due.move_to_end(credential)
        if len(self._due) > REMEMBERED:
            self._due.popitem(last=False)
