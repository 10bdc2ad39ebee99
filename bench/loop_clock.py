"""A clock that stands still while a call waits: what it shows is the event loop's time that the call took."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from time import perf_counter_ns
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class LoopClock:
    """`now_ns()` without `away_ns`, what was waited for or is left out for another reason. One call at a time."""

    read = staticmethod(perf_counter_ns)
    """What it goes by: `time.thread_time_ns` where others use the machine too, which then does not count."""

    def __init__(self) -> None:
        self.away_ns = 0

    def now_ns(self) -> int:
        return self.read() - self.away_ns

    def running(self, call: Awaitable[T]) -> Awaitable[T]:
        """The awaitable, with the clock stopped whenever it waits."""
        return _Running(self, call)


class _Running(Generic[T]):
    def __init__(self, clock: LoopClock, call: Awaitable[T]) -> None:
        self._clock = clock
        self._call = call

    def __await__(self) -> Generator[Any, Any, T]:
        clock = self._clock
        steps = self._call.__await__()
        given: Any = None
        while True:
            try:
                waited_for = steps.send(given)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            left = clock.read()
            given = yield waited_for
            clock.away_ns += clock.read() - left
