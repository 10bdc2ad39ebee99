"""The arithmetic of rateshield: sliding limits by GCRA, running calls by subject, and repeats of one request.

GCRA keeps one number a subject, the theoretical arrival time (TAT): ITU-T I.371, annex A. Times are nanoseconds of a
monotonic clock.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

SUBJECTS_MAX = 100_000
"""Subjects whose state one limit keeps; of more, the one used longest ago is forgotten."""
REPEATS_MAX = 10_000
"""Different requests of which repeats are counted."""

PER_NS = {"second": 10**9, "minute": 60 * 10**9, "hour": 3600 * 10**9, "day": 86_400 * 10**9}


class Arrivals:
    """The TATs of one limit: `count` units in `per_ns`, at most `burst` of them at once. More than one unit a nanosecond counts
    as one."""

    __slots__ = ("burst", "count", "interval_ns", "tats", "tolerance_ns")

    def __init__(self, count: int, per_ns: int, burst: int, tats: OrderedDict[str, int] | None = None) -> None:
        self.count = count
        self.burst = burst
        self.interval_ns = max(1, per_ns // count)
        self.tolerance_ns = self.interval_ns * burst
        self.tats: OrderedDict[str, int] = tats if tats is not None else OrderedDict()

    def handed_over(self) -> OrderedDict[str, int]:
        """The state, for the limit that comes in this one's place."""
        return self.tats

    def wait_ns(self, subject: str, units: int, now_ns: int) -> int:
        """How long the subject must wait until `units` conform; 0 when they do now. More than a burst counts as one."""
        tat = self.tats.get(subject, 0)
        ahead = tat - now_ns
        if ahead <= 0:
            return 0
        wait = ahead + min(units, self.burst) * self.interval_ns - self.tolerance_ns
        return wait if wait > 0 else 0

    def charge(self, subject: str, units: int, now_ns: int) -> tuple[int, int]:
        """Count `units`; they push the next arrival on, however many they are. What `state` says then."""
        tats = self.tats
        tat = tats.get(subject, 0)
        ahead = (tat - now_ns if tat > now_ns else 0) + units * self.interval_ns
        tats[subject] = now_ns + ahead
        if tat:
            tats.move_to_end(subject)
        elif len(tats) > SUBJECTS_MAX:
            tats.popitem(last=False)
        left = (self.tolerance_ns - ahead) // self.interval_ns
        return (left if left > 0 else 0), ahead

    def state(self, subject: str, now_ns: int) -> tuple[int, int]:
        """`(units left, ns until all of the burst is there again)`."""
        ahead = max(0, self.tats.get(subject, 0) - now_ns)
        return max(0, (self.tolerance_ns - ahead) // self.interval_ns), ahead


class Slots:
    """Calls running at once by subject, at most `most` each; who waits gets a slot in the order of arrival."""

    __slots__ = ("_running", "_waiting", "most")

    def __init__(self, most: int, running: dict[str, int] | None = None) -> None:
        self.most = most
        self._running: dict[str, int] = running if running is not None else {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def take_over(self, before: Slots) -> None:
        """Count on with those of another limit's calls that still run; whichever of the two they are given back to."""
        self._running, self._waiting = before._running, before._waiting

    def free(self, subject: str) -> bool:
        return self._running.get(subject, 0) < self.most and not self._waiting.get(subject)

    def take_if_free(self, subject: str) -> bool:
        running = self._running.get(subject, 0)
        if running >= self.most or (self._waiting and self._waiting.get(subject)):
            return False
        self._running[subject] = running + 1
        return True

    def take(self, subject: str) -> None:
        self._running[subject] = self._running.get(subject, 0) + 1

    def wait(self, subject: str) -> asyncio.Future[None]:
        """A place in the queue: the future is done when a slot was handed over."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(subject, deque()).append(future)
        return future

    def leave(self, subject: str, future: asyncio.Future[None]) -> None:
        """Give the place in the queue up, or the slot when it was handed over already."""
        if future.done() and not future.cancelled():
            self.give_back(subject)
            return
        future.cancel()
        waiting = self._waiting.get(subject)
        if waiting is not None:
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                del self._waiting[subject]

    def give_back(self, subject: str) -> None:
        """A call ended: its slot goes to who waits longest."""
        waiting = self._waiting.get(subject) if self._waiting else None
        while waiting:
            future = waiting.popleft()
            if not waiting:
                del self._waiting[subject]
            if not future.done():
                future.set_result(None)
                return
        running = self._running.get(subject, 0) - 1
        if running > 0:
            self._running[subject] = running
        else:
            self._running.pop(subject, None)


class Repeats:
    """How often a request came lately: `most` times in `window_ns` are let through."""

    __slots__ = ("_seen", "most", "window_ns")

    def __init__(self, most: int, window_ns: int) -> None:
        self.most = most
        self.window_ns = window_ns
        self._seen: OrderedDict[int, int | deque[int]] = OrderedDict()
        """By a hash of who asks what. When each came: the one time of a request that came once, as most do."""

    def take_over(self, before: Repeats) -> None:
        """Count on with what came before, of which the latest are enough."""
        for request, seen in before._seen.items():
            for at_ns in (seen,) if isinstance(seen, int) else tuple(seen)[-self.most :]:
                self.add(request, at_ns)

    def wait_ns(self, request: int, now_ns: int) -> int:
        """How long until the request may come again; 0 when it may now."""
        seen = self._seen.get(request)
        if seen is None:
            return 0
        count, first = (1, seen) if isinstance(seen, int) else (len(seen), seen[0])
        return 0 if count < self.most else max(0, first + self.window_ns - now_ns)

    def count(self, request: int, now_ns: int, *, counts: bool = True) -> bool:
        """Count the request if it may come now; False when it may not. With `counts` off nothing is counted."""
        seen = self._seen
        if request in seen:
            if self.wait_ns(request, now_ns):
                return False
            if counts:
                self.add(request, now_ns)
        elif counts:
            seen[request] = now_ns
            if len(seen) > REPEATS_MAX:
                seen.popitem(last=False)
        return True

    def add(self, request: int, now_ns: int) -> None:
        seen = self._seen.get(request)
        if seen is None:
            self._seen[request] = now_ns
            if len(self._seen) > REPEATS_MAX:
                self._seen.popitem(last=False)
            return
        self._seen.move_to_end(request)
        if isinstance(seen, int):
            self._seen[request] = deque((seen, now_ns), maxlen=self.most)
        else:
            seen.append(now_ns)


def openai_duration(ns: int) -> str:
    """A duration as OpenAI writes it in its rate limit headers: `17ms`, `1s`, `6m0s`."""
    ms = -(-ns // 1_000_000)
    if ms < 1000:
        return f"{ms}ms"
    seconds = -(-ms // 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
