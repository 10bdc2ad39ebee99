"""Bounds on what strangers may ask for."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from control_plane.errors import CloudError

WINDOW_S = 3_600.0
REMEMBERED = 10_000  # addresses or domains; the longest unseen is forgotten first


class Window:
    """At most `limit` takes of one name within an hour."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._takes: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, name: str) -> float:
        """0 when the name may be taken now, else the seconds until it may."""
        takes = self._takes.get(name)
        if takes is None:
            return 0.0
        now = self._clock()
        while takes and takes[0] <= now - WINDOW_S:
            takes.popleft()
        return 0.0 if len(takes) < self._limit else takes[0] + WINDOW_S - now

    def take(self, name: str) -> None:
        """Count one."""
        takes = self._takes.setdefault(name, deque(maxlen=self._limit))
        takes.append(self._clock())
        self._takes.move_to_end(name)
        if len(self._takes) > REMEMBERED:
            self._takes.popitem(last=False)


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


class SignupLimits:
    """Sign-ups per address and per mail domain, within an hour."""

    def __init__(self, per_address: int, per_domain: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = Window(per_address, clock)
        self._domain = Window(per_domain, clock)

    def take(self, address: str, email: str) -> None:
        """Count a sign-up, or raise `rate_limited` with Retry-After."""
        domain = email.rpartition("@")[2].lower()
        wait = max(self._address.wait_s(address), self._domain.wait_s(domain))
        if wait > 0:
            retry = {"Retry-After": str(math.ceil(wait))}
            raise CloudError("rate_limited", "too many sign-ups from here; try again later", headers=retry)
        self._address.take(address)
        self._domain.take(domain)
