"""A module's beginning, background work and end, contained: none of them can keep the instance or a switch waiting for ever."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, ClassVar, Literal

from instance.chute.module import Module, ModuleSettings
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.client_modules import ClientModules
    from instance.chute.exchange import Exchange
    from instance.chute.slot import Slot
    from instance.core.core import Core

OURS = "instance."
START_MAX_S = 120.0
STOP_MAX_S = 10.0
TICK_MAX_S = 600.0
"""How long a module's `start`, `stop` and one `tick` may take; after that they have failed."""

log = logging.getLogger("stockyard.modules")


class NotStarted(Module):
    """Stands in the plan for a module that is on, fails closed and could not be started: it fails on every call."""

    category: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    on_error: ClassVar[Literal["open", "closed"]] = "closed"

    def __init__(self, cls: type[Module]) -> None:
        super().__init__(ModuleSettings())
        self.name = cls.name  # type: ignore[misc]
        self.group = cls.group  # type: ignore[misc]
        self.kinds = cls.kinds  # type: ignore[misc]

    def on_request(self, x: Exchange) -> None:
        raise ModuleNotStarted(self.name)


class ModuleNotStarted(Exception):
    """The module's own failure: it could not be started."""


async def started(
    core: Core, cls: type[Module], settings: ModuleSettings, previous: Module | None, *, beside_calls: bool = False
) -> Module:
    """A new module, started. Raises what its `start` refuses with, and `module_failed` when it raises anything else or hangs.

    `beside_calls`: one of ours, which may take long to be built (expressions are compiled), is built on a thread, so that calls go on
    meanwhile. Whoever else writes one may count on the event loop's."""
    try:
        if beside_calls and cls.__module__.startswith(OURS):
            module: Module = await asyncio.to_thread(cls, settings)
        else:
            module = cls(settings)
        async with asyncio.timeout(START_MAX_S):
            await module.start(core, previous)
    except StockyardError:
        raise
    except Exception as error:  # the module's own failure: told to who switched it on, logged when the instance starts
        log.exception("module %s failed in start()", cls.name)
        why = f"took longer than {START_MAX_S:g} s" if isinstance(error, TimeoutError) else type(error).__name__
        raise StockyardError(
            "module_failed",
            f"The module {cls.name!r} could not be started ({why}); the instance's log says more.",
            module=cls.name,
        ) from error
    return module


async def stopped(module: Module) -> None:
    """Stop a module that left the plan; never raises."""
    try:
        async with asyncio.timeout(STOP_MAX_S):
            await module.stop()
    except Exception:  # contained: it is off already, and the log says what failed
        log.exception("module %s failed in stop()", module.name)


async def ticking(core: Core, slot: Slot, module: Module, clients: ClientModules) -> None:
    """The background work of a module and of those that clients have in its place, until cancelled; a tick that fails or hangs is
    counted, and the next one tries again."""
    while True:
        await core.clock.sleep(module.tick_s)
        try:
            async with asyncio.timeout(TICK_MAX_S):
                for one in (module, *clients.of_module(slot.name)):
                    await one.tick()
        except Exception as error:  # contained, counted and shown
            slot.meter.errors += 1
            slot.meter.last_error = f"tick: {type(error).__name__}: {error}"[:500]
            log.exception("module %s failed in tick()", slot.name)


def left_off(slot: Slot, error: StockyardError) -> None:
    """What becomes of a module whose stored settings do not hold or that cannot be started when the instance starts: one that
    fails open is off; one that fails closed refuses its calls until it is mended or switched off."""
    slot.meter.errors += 1
    slot.meter.last_error = f"not started: {error.message}"
    said = {**slot.base, **slot.config}.get("on_error") or slot.cls.on_error
    slot.settings = slot.cls.Settings()
    if slot.enabled and said == "closed":
        slot.refusing = NotStarted(slot.cls)
        log.error("module %s could not be started and refuses calls: %s", slot.name, error.message)
        return
    slot.enabled = False
    log.error("module %s was left off: %s", slot.name, error.message)
