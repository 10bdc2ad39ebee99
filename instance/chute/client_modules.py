"""Modules with settings of a client's own, which stand in the client's plans in place of everybody's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from instance.chute.life_cycle import started, stopped
from instance.chute.slot import validated
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.module import Module, ModuleSettings
    from instance.chute.slot import Slot
    from instance.core.core import Core

OWNER = "tenantwall"
"""The module whose settings say what clients have of their own."""

Running = dict[str, dict[str, "Module"]]
"""Client -> name -> the module that runs for it."""


class Wanted(NamedTuple):
    """A slot as it is to be: whether it is on, and what is set of it."""

    slot: Slot
    enabled: bool
    config: Mapping[str, Any]


class ClientModules:
    """What runs for clients. `made` builds what is to run, `take` makes it what runs."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: Running = {}

    def __bool__(self) -> bool:
        return bool(self._running)

    def of_client(self, client: str) -> Mapping[str, Module]:
        """The modules that a client has of its own, by name; empty for most."""
        return self._running.get(client, {})

    def of_module(self, name: str) -> list[Module]:
        """A module as it runs for each of the clients that have settings of their own for it."""
        return [modules[name] for modules in self._running.values() if name in modules]

    async def made(self, owner: ModuleSettings | None, slots: Mapping[str, Wanted], renewed: str = "") -> Running:
        """What is to run by the owner's settings (`None` while it is off); modules whose settings stay are the ones that run
        now, but for `renewed`.

        Raises `invalid_value` or `unknown_field` for overrides that cannot be, or what a module's `start` refuses with.
        """
        running: Running = {}
        fresh: list[Module] = []
        try:
            for client, name, override in _overrides(owner):
                where = f"config.clients.{client}.overrides.{name}"
                settings = _settings(slots.get(name), override, where)
                if not slots[name].enabled:
                    continue
                before = self._running.get(client, {}).get(name)
                if before is None or before.settings != settings or name == renewed:
                    before = await started(self._core, slots[name].slot.cls, settings, before)
                    fresh.append(before)
                running.setdefault(client, {})[name] = before
        except BaseException:
            for module in fresh:
                await stopped(module)
            raise
        return running

    def take(self, running: Running) -> list[Module]:
        """Let these run; the modules that run no more."""
        before, self._running = self._running, running
        return _without(before, running)

    def unused(self, running: Running) -> list[Module]:
        """Of what was made, the modules that do not run."""
        return _without(running, self._running)


def _without(some: Running, others: Running) -> list[Module]:
    kept = {id(module) for modules in others.values() for module in modules.values()}
    return [module for modules in some.values() for module in modules.values() if id(module) not in kept]


def _overrides(settings: ModuleSettings | None) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for client in getattr(settings, "clients", ()):
        for name, override in client.overrides.items():
            yield client.id, name, override


def _settings(base: Wanted | None, override: Mapping[str, Any], where: str) -> ModuleSettings:
    if base is None:
        raise StockyardError("invalid_value", "There is no such module.", param=where)
    if not base.slot.cls.per_client:
        raise StockyardError("invalid_value", "It cannot have settings of a client's own.", param=where)
    try:
        return validated(base.slot.cls, {**base.config, **override})
    except StockyardError as error:
        message = f"{where}: {error.message}"
        raise StockyardError(error.code, message, param=where, details=error.details) from None
