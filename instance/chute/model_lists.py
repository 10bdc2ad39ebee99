"""The providers' own lists of models, asked for in the background and never waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from instance.chute.provider_check import check_models

if TYPE_CHECKING:
    from instance.chute.provider import Provider
    from instance.chute.providers import ProviderTable
    from instance.core.clock import Clock

REFRESH_NS = 600 * 1_000_000_000
FETCH_WAIT_S = 5.0
"""How long a call waits for a list that it needs."""


class ModelLists:
    """Keeps `provider.listed` at most ten minutes old while somebody asks for models."""

    def __init__(self, table: ProviderTable, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._asked_ns: dict[str, int] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._asking: dict[str, asyncio.Task[None]] = {}

    def refresh_stale(self) -> None:
        """Begins to ask the usable providers whose list is old and that have no configured one; returns at once."""
        now = self._clock.mono_ns()
        for provider in self._table.usable():
            spec = provider.spec
            if provider.is_mock or spec.models or not spec.lists_models or spec.only_by_name:
                continue
            asked = self._asked_ns.get(provider.name)
            if asked is not None and now - asked < REFRESH_NS:
                continue
            self._asked_ns[provider.name] = now
            task = asyncio.get_running_loop().create_task(self._ask(provider))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def fetched(self, provider: Provider) -> None:
        """Returns when the provider has been asked for its list, in these ten minutes or now; waits five seconds at most."""
        now = self._clock.mono_ns()
        asked = self._asked_ns.get(provider.name)
        if asked is None or now - asked >= REFRESH_NS:
            self._asked_ns[provider.name] = now
            self._asking[provider.name] = asyncio.get_running_loop().create_task(self._ask(provider))
        task = self._asking.get(provider.name)
        if task is not None:
            await asyncio.wait({task}, timeout=FETCH_WAIT_S)
            if task.done():
                self._asking.pop(provider.name, None)

    async def _ask(self, provider: Provider) -> None:
        result = await check_models(provider)
        if result.models is not None:
            self._table.take_listed(provider.name, result.models, self._clock.wall_ns())

    async def settled(self) -> None:
        """Returns when nothing is being asked."""
        while self._running:
            await asyncio.wait(self._running)

    def stop(self) -> None:
        """Gives up what is being asked."""
        for task in [*self._running, *self._asking.values()]:
            task.cancel()
