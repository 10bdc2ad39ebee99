"""Several upstreams behind one instance, and time that a test turns on."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from instance.core.clock import Clock
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running


class TurnedClock(Clock):
    """The real clock, moved on by hand: `advance` makes it later, sleeping takes its real time."""

    __slots__ = ("ahead_ns",)

    def __init__(self) -> None:
        self.ahead_ns = 0

    def mono_ns(self) -> int:
        return Clock.mono_ns() + self.ahead_ns

    def wall_ns(self) -> int:
        return Clock.wall_ns() + self.ahead_ns

    def advance(self, seconds: float) -> None:
        self.ahead_ns += round(seconds * 1e9)


@asynccontextmanager
async def two_upstreams(
    modules: Mapping[str, Any] | None = None, *, only: bool = False
) -> AsyncIterator[tuple[Running, MockUpstream, MockUpstream]]:
    """An instance whose bare model `small` is served by `first` and by `second`, in this order."""
    async with MockUpstream() as second:
        row = f'[providers.second]\nbase_url = "{second.url}"\napi_key = "second-key-of-the-tests"\nmodels = ["small"]\npriority = 200\n'
        async with running(modules, only=only, config=row) as s:
            s.model = "small"
            yield s, s.mock, second
