"""Every module there is, switched and configured while calls run, and the plan compiled from those that are on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.chain import Plan, matchers_of
from instance.chute.client_modules import OWNER, ClientModules, Running, Wanted
from instance.chute.containment import Fits, Link
from instance.chute.forward import forward
from instance.chute.leaving import Leaving
from instance.chute.life_cycle import left_off, started, stopped, ticking
from instance.chute.module import Module, ModuleSettings
from instance.chute.module_change import Prepared, Saver, ledger_event, prepared, stored
from instance.chute.module_rows import read_rows, write_rows
from instance.chute.module_secrets import opened
from instance.chute.module_slots import module_slots, unknown_module
from instance.chute.order import SHIMS
from instance.chute.slot import Slot, validated
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.matcher import Matcher
    from instance.core.core import Core

ADMISSION_GROUP = 2
ADMITTED = ":admitted"
"""Behind a kind: its plan without admission."""
OF_CLIENT = ":client:"
"""Behind a kind, before a client: its plan for a client that has modules of its own."""


def _is_in(slot: Slot, *, admitted: bool) -> bool:
    """Whether a module that is on is in a plan; `admitted`: in one for calls that came through admission before."""
    return not admitted or slot.order()[0] != ADMISSION_GROUP or slot.cls.admitted_too


class Registry:
    """Holds a `Slot` for each module, and the plan of each kind of call. Changes are validated, persisted, then swapped in whole."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.version = 0
        self.slots = module_slots(core.settings.modules)
        self.clients = ClientModules(core)
        self._plans: dict[str, Plan] = {}
        self._left: list[Plan] = []
        """Plans of before that calls still use."""
        self._lock = asyncio.Lock()
        self.leaving = Leaving()

    def slot(self, name: str) -> Slot:
        """The module's slot; raises `not_found` with the nearest name."""
        slot = self.slots.get(name)
        if slot is None:
            raise unknown_module(name, self.slots)
        return slot

    def ordered(self) -> list[Slot]:
        """Every slot in the chain's order."""
        return sorted(self.slots.values(), key=Slot.order)

    async def start(self, dialects: Collection[str] = ()) -> None:
        """Read the persisted state, start what is on, compile the first plan. Of the shims nobody has configured, those are
        loaded that speak one of `dialects`; the others when a provider needs them.

        A module whose stored settings no longer hold, or that refuses to start, is left off, or refuses calls where it fails
        closed; the log and its meter say why."""
        for name, enabled, config, priority, updated in await self.core.database.read(read_rows):
            slot = self.slots.get(name)
            if slot is not None:
                slot.enabled_override = None if enabled is None else bool(enabled)
                slot.config = opened(
                    orjson.loads(config), slot.cls.secret_settings, self.core.secrets, slot.secret_context
                )
                slot.priority = priority
                slot.updated_at_ns = updated
        unused = {name for dialect, name in SHIMS.items() if dialect not in dialects}
        for slot in self.slots.values():
            slot.enabled = slot.base_enabled if slot.enabled_override is None else slot.enabled_override
            if slot.plain and (not slot.enabled or slot.name in unused):
                slot.deferred = slot.enabled
                continue
            try:
                slot.settings = validated(slot.cls, {**slot.base, **slot.config})
                if slot.enabled:
                    slot.running = await started(self.core, slot.cls, slot.settings, None)
            except StockyardError as error:
                left_off(slot, error)
        try:
            self.clients.take(await self.clients.made(*self._wanted()))
        except StockyardError as error:  # without what is set for them its clients had more than they may
            owner = self.slots[OWNER]
            if owner.running is not None:
                await stopped(owner.running)
                owner.running = None
            left_off(owner, error)
        self._swap()

    def _wanted(self, changed: Sequence[Prepared] = ()) -> tuple[ModuleSettings | None, dict[str, Wanted]]:
        """What clients' modules are made of: the settings of their owner while it is on, and every slot, after what is changed."""
        wanted = {slot.name: Wanted(slot, slot.enabled, {**slot.base, **slot.config}) for slot in self.slots.values()}
        owner = self.slots[OWNER].settings if self.slots[OWNER].enabled else None
        for slot, enabled, config, settings, _ in changed:
            wanted[slot.name] = Wanted(slot, enabled, {**slot.base, **config})
            if slot.name == OWNER:
                owner = settings if enabled else None
        return owner, wanted

    async def shim(self, dialect: str, kind: str) -> tuple[Link, Fits | None] | None:
        """The link of the shim that speaks a dialect, loaded now if no call needed it before; `None` when it is off."""
        slot = self.slots.get(SHIMS.get(dialect, ""))
        if slot is None:
            return None
        if slot.deferred:
            async with self._lock:
                if slot.deferred:
                    slot.running = await started(self.core, slot.cls, slot.settings, None)
                    slot.deferred = False
                    self._swap()
        return self.plan(kind).shims.get(dialect)

    async def load_shims(self, dialects: Collection[str]) -> None:
        """Load what speaks these dialects, ahead of the first call."""
        for dialect in dialects:
            await self.shim(dialect, "chat")

    def plan(self, kind: str, *, admitted: bool = False, client: str = "") -> Plan:
        """The plan for this kind of call as it is now; the call keeps it to its end. `admitted`: without the modules of
        admission, for a call that came through them before. `client`: for whom it is made, if that is a client."""
        name = kind + ADMITTED if admitted else kind
        if client and self.clients.of_client(client):
            name = f"{name}{OF_CLIENT}{client}"
        plan = self._plans.get(name)
        if plan is None:
            plan = self._plans[name] = self._compile(name)
        return plan

    def _compile(self, name: str) -> Plan:
        everybodys, _, client = name.partition(OF_CLIENT)
        kind = everybodys.removesuffix(ADMITTED)
        own = self.clients.of_client(client)
        links = [
            Link(own.get(slot.name, module), slot.meter, place)
            for place, slot in enumerate(self.ordered())
            if (module := slot.running or slot.refusing) is not None and _is_in(slot, admitted=everybodys != kind)
        ]
        return Plan(self.version, kind, links, forward, self.shim, self._plans.get(everybodys))

    async def _scans_ahead(self, begun: Mapping[str, Module | None]) -> list[tuple[Matcher | None, Matcher | None]]:
        """What the plans will scan texts with once these modules are in place of the slots' own: made on a thread, so that calls go on
        meanwhile. The caller keeps it until the plans are compiled."""
        coming = {name: begun.get(name, slot.running or slot.refusing) for name, slot in self.slots.items()}
        made = []
        for name, plan in [each for each in self._plans.items() if OF_CLIENT not in each[0]]:
            modules = [
                module
                for slot in self.slots.values()
                if (module := coming[slot.name]) is not None
                and plan.kind in module.kinds
                and _is_in(slot, admitted=name != plan.kind)
            ]
            made.append(await asyncio.to_thread(matchers_of, modules, plan))
        return made

    def recompile(self) -> None:
        """Compile the plans anew, after something changed that decides which hooks a module needs (`Module.hooks`)."""
        self._swap()

    async def renew(self, name: str) -> None:
        """Build a module anew with the settings that it has, after something changed that it reads when it starts; calls that
        run keep the one they began with. Nothing happens while it is off. Raises what its `start` refuses with."""
        async with self._lock:
            slot = self.slot(name)
            before = slot.running
            if before is not None:
                slot.running = await started(self.core, slot.cls, slot.settings, before)
                leaving = [before]
                if self.clients.of_module(name):
                    leaving += self.clients.take(await self.clients.made(*self._wanted(), renewed=name))
                self._swap(leaving)

    @asynccontextmanager
    async def lent(self, name: str) -> AsyncIterator[Module]:
        """The module as it runs; one that is off is started with its settings and stopped again. Nothing is switched meanwhile.

        Raises `not_found`, and what its `start` refuses with."""
        slot = self.slot(name)
        async with self._lock:
            if slot.running is not None:
                yield slot.running
                return
            module = await started(self.core, slot.cls, slot.settings, None)
            try:
                yield module
            finally:
                await stopped(module)

    def _swap(self, leaving: list[Module] | None = None) -> None:
        """Compile anew and swap; modules that left are stopped after the last call of the old plans."""
        old = self._left = [plan for plan in (*self._left, *self._plans.values()) if plan.in_flight]
        self.version += 1
        kinds = [name for name in self._plans if OF_CLIENT not in name] or ["chat"]
        self._plans = {kind: self._compile(kind) for kind in kinds}
        for slot in self.slots.values():
            if slot.ticker is not None and (slot.running is None or slot.ticker.get_name() != str(id(slot.running))):
                slot.ticker.cancel()
                slot.ticker = None
            if slot.running is not None and slot.cls.tick_s > 0 and slot.ticker is None:
                slot.ticker = asyncio.create_task(
                    ticking(self.core, slot, slot.running, self.clients), name=str(id(slot.running))
                )
        if leaving:
            self.leaving.after(old, leaving)

    async def change(
        self, changes: Mapping[str, Mapping[str, Any]], actor: str, saver: Saver | None = None
    ) -> list[Slot]:
        """Switch and configure modules, all of `changes` or none: `{name: {enabled?, config?, replace?, priority?, confirm?}}`.

        `config` is merged over the current settings (`None` resets a field), or replaces them with `replace`. Takes effect
        with the next call. Raises `not_found`, `invalid_value`, `unknown_field`, or what the module's `start` refuses with.
        """
        async with self._lock:
            changed = [prepared(self.slot(name), change, saver, self.ordered()) for name, change in changes.items()]
            begun: dict[str, Module | None] = {}
            of_clients: Running = {}
            try:
                for slot, enabled, _, settings, _ in changed:
                    if enabled and slot.running is not None and settings == slot.settings:
                        begun[slot.name] = slot.running
                    elif enabled:
                        begun[slot.name] = await self._begun(slot, settings)
                    else:
                        begun[slot.name] = None
                if OWNER in begun or self.clients:
                    of_clients = await self.clients.made(*self._wanted(changed))
                scans = await self._scans_ahead(begun)
                await self._persist(changed, actor)
            except BaseException:
                for unused in self.clients.unused(of_clients):
                    await stopped(unused)
                for slot, *_ in changed:
                    module = begun.get(slot.name)
                    if module is not None and module is not slot.running:
                        await stopped(module)
                raise
            leaving = self.clients.take(of_clients)
            for slot, enabled, config, settings, priority in changed:
                if slot.running is not None and slot.running is not begun[slot.name]:
                    leaving.append(slot.running)
                slot.running = begun[slot.name]
                slot.refusing = None
                slot.deferred = False
                slot.enabled = enabled
                slot.enabled_override = enabled
                slot.config = config
                slot.settings = settings
                slot.priority = priority
                slot.updated_at_ns = self.core.clock.wall_ns()
            self._swap(leaving)
            del scans
            return [slot for slot, *_ in changed]

    async def _persist(self, changed: Sequence[Prepared], actor: str) -> None:
        now_ns = self.core.clock.wall_ns()
        rows = [stored(each, self.core.secrets, now_ns) for each in changed]
        await self.core.writer.write(partial(write_rows, rows=rows), [ledger_event(each, actor) for each in changed])

    async def _begun(self, slot: Slot, settings: ModuleSettings) -> Module:
        """A module with new settings: it goes on from the one that runs, or that was switched off a moment ago."""
        previous = slot.running or await self.leaving.previous(slot.cls)
        return await started(self.core, slot.cls, settings, previous, beside_calls=True)

    async def reset(self, name: str, actor: str) -> Slot:
        """Back to the defaults and the configuration file."""
        slot = self.slot(name)
        await self.change({name: {"enabled": slot.base_enabled, "config": {}, "replace": True}}, actor)
        return slot

    async def stop(self) -> None:
        """Stop every module that is on."""
        for module in self.clients.take({}):
            await stopped(module)
        for slot in self.slots.values():
            if slot.ticker is not None:
                slot.ticker.cancel()
                slot.ticker = None
            if slot.running is not None:
                await stopped(slot.running)
                slot.running = None
        await self.leaving.all_stopped()
