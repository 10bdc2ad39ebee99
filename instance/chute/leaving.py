"""Modules that are off, or replaced, and are not stopped yet: calls that began with them still run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from instance.chute.life_cycle import stopped

if TYPE_CHECKING:
    from instance.chute.chain import Plan
    from instance.chute.module import Module

STOP_WAIT_S = 10.0
"""For which a module that is switched on waits for the end of its predecessor's `stop`."""


class Leaving:
    """Stops modules once the last call of their plans is over."""

    def __init__(self) -> None:
        self._modules: list[Module] = []
        self._stopping: dict[int, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._modules)

    def after(self, plans: Sequence[Plan], leaving: Sequence[Module]) -> None:
        """Stop these modules when no call uses any of the plans any more."""
        waiting = len(plans)
        self._modules += leaving

        def one_less() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting <= 0:
                for module in leaving:
                    self._stopping[id(module)] = asyncio.get_running_loop().create_task(self._end(module))

        if not plans:
            waiting = 1
            one_less()
        for plan in plans:
            earlier = plan.retired

            def retired(earlier: Any = earlier) -> None:
                if earlier is not None:
                    earlier()
                one_less()

            plan.retired = retired

    async def _end(self, module: Module) -> None:
        try:
            await stopped(module)
        finally:
            self._modules.remove(module)
            del self._stopping[id(module)]

    async def previous(self, cls: type[Module]) -> Module | None:
        """The module of a class that left last and still has calls. While it is being stopped its end is waited for, so that all
        it stores is there to be read; then there is none."""
        last = next((module for module in reversed(self._modules) if type(module) is cls), None)
        stopping = self._stopping.get(id(last))
        if stopping is not None:
            await asyncio.wait([stopping], timeout=STOP_WAIT_S)
        return last if last in self._modules else None

    async def all_stopped(self) -> None:
        """Wait for every stop that is under way."""
        if self._stopping:
            await asyncio.gather(*self._stopping.values(), return_exceptions=True)
