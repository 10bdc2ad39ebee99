"""Engine, edge and instances of the simulated machine, as one life of the control plane reaches them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from control_plane.domain.tenants import Generation
from control_plane.reconcile.ports import Activity, Drained, Probe, Unavailable, Verified
from control_plane.runtimes.protocol import EngineError, InstanceSpec, Observed, RunState, StopFailed
from tests.simulation.plane import Plane
from tests.simulation.sim_store import Tables
from tests.simulation.world import READ, Database, Instance, Pushed


class SimRuntime:
    """`Runtime` with starts that get lost or come late, and stops that take long or do not happen."""

    def __init__(self, plane: Plane, tables: Tables) -> None:
        self._plane = plane
        self._tables = tables
        self._world = tables.world

    async def prepare(self) -> None:
        await self._plane.effect(lambda: None, EngineError)

    async def observe(self, name: str | None = None) -> list[Observed]:
        def see() -> list[Observed]:
            known = self._world.instances
            found = list(known.values()) if name is None else [known[name]] if name in known else []
            return [_observed(each) for each in found]

        return await self._plane.effect(see, EngineError)

    async def start(self, spec: InstanceSpec) -> None:
        chance, faults = self._plane.chance, self._plane.faults
        present = self._world.instances.get(spec.name)
        if present is not None and present.state is not RunState.EXITED:
            if (present.revision, present.epoch) != (spec.revision, spec.epoch):
                raise EngineError("it runs already")
            return
        if chance.random() < faults.lost_start:
            return
        if chance.random() < faults.late_start:
            asyncio.get_running_loop().call_later(chance.uniform(0.05, 1.5), self._appear, spec)
            raise EngineError("no answer from the engine")
        await self._plane.effect(lambda: self._make(spec), EngineError)
        if chance.random() < faults.twice:
            asyncio.get_running_loop().call_later(chance.uniform(0.05, 1.5), self._appear, spec)

    def _appear(self, spec: InstanceSpec) -> None:
        """The engine made it after all, unless somebody was quicker: names are unique."""
        present = self._world.instances.get(spec.name)
        if present is None:
            self._make(spec, late=True)

    def _make(self, spec: InstanceSpec, late: bool = False) -> None:
        present = self._world.instances.get(spec.name)
        if present is not None and present.state is not RunState.EXITED:
            return
        if not late:
            self._tables.invariants.at_start(spec.name, spec.epoch, self._tables.tenants.get(spec.name))
            if self._world.fresh.get(spec.name):
                self._tables.invariants.at_fresh_start(spec.name, self._tables.line(spec.name))
        chance = self._plane.chance
        works = chance.random() >= self._plane.faults.broken_start
        made = self._world.make_instance(
            spec.name, spec.epoch, spec.revision, works=works, ready_in=chance.choice((0.02, 0.1, 0.4))
        )
        if chance.random() < self._plane.faults.slow_stop:
            made.slow_to_stop = chance.uniform(0.1, 4.0)

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """What the toy of the engines' tests says."""
        if name in self._world.instances:
            for line in ("preparing", "listening", "ready")[-lines:]:
                yield line

    async def pause(self, name: str) -> None:
        def freeze() -> None:
            found = self._alive(name)
            if found.state is RunState.RUNNING:
                self._tables.invariants.at_pause(found)
                found.state = RunState.PAUSED

        await self._plane.effect(freeze, EngineError)

    async def resume(self, name: str) -> None:
        def thaw() -> None:
            found = self._alive(name)
            found.state, found.by_hand = RunState.RUNNING, False

        await self._plane.effect(thaw, EngineError)

    async def stop(self, name: str, grace_s: float) -> None:
        found = self._world.instances.get(name)
        if found is None or found.state is RunState.EXITED:
            return
        dice = self._plane.chance.random()
        if dice < self._plane.faults.failed_stop:
            if dice < self._plane.faults.failed_stop / 2:
                raise StopFailed("it does not end")
            return  # and says that it did
        found.state = RunState.RUNNING  # a frozen one is unfrozen for it
        await self._plane.pause(min(found.slow_to_stop, grace_s))
        killed = found.slow_to_stop > grace_s
        await self._plane.effect(lambda: self._end(found, 137 if killed else 0), EngineError)

    def _end(self, instance: Instance, code: int) -> None:
        if instance.state is not RunState.EXITED:
            self._world.end_instance(instance, code)
            # A call that was cut off may have ended after the last reading.
            self._tables.invariants.at_unread(instance.slug, instance.volume)

    async def remove(self, name: str) -> None:
        def forget() -> None:
            found = self._world.instances.get(name)
            if found is not None and found.state is not RunState.EXITED:
                raise EngineError("it runs")
            self._world.instances.pop(name, None)

        await self._plane.effect(forget, EngineError)

    def _alive(self, name: str) -> Instance:
        found = self._world.instances.get(name)
        if found is None or found.state is RunState.EXITED:
            raise EngineError(f"{name} does not run")
        return found


class SimEdge:
    """`Edge` and `RoutingTable`: names of sockets."""

    def __init__(self, plane: Plane, tables: Tables, *, by_activator: bool = False) -> None:
        self._plane = plane
        self._tables = tables
        self._world = tables.world
        self._by_activator = by_activator

    async def is_routed(self, slug: str) -> bool:
        """Whether the link is the present socket, and somebody listens there."""
        run_id = self._world.links.get(slug)
        if run_id is None or run_id != self._world.sockets.get(slug):
            return False
        return self._world.socket_of(slug, run_id) is not None

    def changed_at(self) -> int:
        """Another number for another table."""
        return hash(tuple(self._world.links.items()))

    async def named(self) -> set[str]:
        """Who has a link."""
        return set(self._world.links)

    async def link(self, slug: str) -> None:
        def make() -> None:
            run_id = self._world.sockets.get(slug)
            if run_id is None:
                raise Unavailable("there is no own.sock")
            instance = self._world.instances.get(slug)
            tenant = self._tables.tenants.get(slug)
            self._tables.invariants.at_link(slug, instance, tenant, by_activator=self._by_activator)
            self._world.links[slug] = run_id

        await self._plane.effect(make, Unavailable, at_once=True)

    async def unlink(self, slug: str) -> None:
        if self._plane.chance.random() < 6 * self._plane.faults.delay:
            await self._plane.pause(self._plane.chance.uniform(0.05, 0.5))  # calls go on coming in meanwhile
        await self._plane.effect(lambda: self._world.links.pop(slug, None), Unavailable)

    async def linked(self, slug: str | None = None) -> Mapping[str, bool]:
        world = self._world
        return await self._plane.effect(
            lambda: {
                each: world.sockets.get(each) == run_id for each, run_id in world.links.items() if slug in (None, each)
            }
        )


class SimInstances:
    """`Instances`: what an instance answers over its socket. The activator is cut off from none."""

    def __init__(self, plane: Plane, tables: Tables, *, by_activator: bool = False) -> None:
        self._plane = plane
        self._tables = tables
        self._world = tables.world
        self._by_activator = by_activator

    async def probe(self, slug: str) -> Probe | None:
        def ask() -> Probe | None:
            instance = self._world.instances.get(slug)
            if instance is None or instance.state is not RunState.RUNNING or self._is_cut_off:
                return None
            if self._world.monotonic < instance.ready_at:
                return None
            ready = self._world.is_ready(instance)
            database = instance.volume.database
            generation = database.generation if database is not None else None
            return Probe(ready and not instance.draining, ready and instance.draining, generation, instance.epoch)

        try:
            return await self._plane.effect(ask, Unavailable)
        except Unavailable:
            return None

    async def activity(self, slug: str) -> Activity:
        def ask() -> Activity:
            instance = self._answering(slug)
            idle = 0.0 if instance.in_flight else self._world.monotonic - instance.last_call_at
            database = instance.volume.database
            scheduled_at = database.scheduled_at if database is not None else None
            return Activity(instance.in_flight, max(0.0, idle), instance.called_at, scheduled_at)

        return await self._plane.effect(ask, Unavailable)

    async def push_state(self, slug: str, state: Mapping[str, Any]) -> Generation:
        pushed = Pushed(
            Generation(**state["generation"]),
            {key["sha256"]: (key["id"], _seconds(key["expires_at"])) for key in state["keys"]},
        )

        def push() -> Generation:
            database = self._answering(slug).volume.database
            assert database is not None
            if is_stale(pushed, database):
                raise Unavailable("409 stale_generation")
            if pushed != database.state:
                if self._world.disk_full:
                    raise Unavailable("500: no space left on device")
                database.state, database.txid = pushed, database.txid + 1
            return pushed.generation

        return await self._plane.effect(push, Unavailable, repeats=self._plane.faults.twice)

    async def renew_lease(self, slug: str, lease_s: float) -> None:
        await self._plane.effect(lambda: self._answering(slug), Unavailable)

    async def drain(self, slug: str, deadline_s: float, *, suspended: bool = False) -> Drained:
        instance = await self._plane.effect(lambda: self._answering(slug), Unavailable)
        instance.draining = True
        waited = 0.0
        while instance.in_flight and waited < deadline_s:
            await self._plane.pause(0.05)
            waited += 0.05
        self._answering(slug)
        self._world.fold(instance.volume)
        return Drained(instance.in_flight == 0 and not instance.volume.journal, instance.in_flight)

    async def resume(self, slug: str) -> None:
        def undo() -> None:
            self._answering(slug).draining = False

        await self._plane.effect(undo, Unavailable)

    async def verify(self, slug: str) -> Verified:
        def check() -> Verified:
            database = self._answering(slug).volume.database
            return Verified(database is not None and database.sound)

        return await self._plane.effect(check, Unavailable)

    async def usage(self, slug: str) -> Mapping[str, Any]:
        def read() -> Mapping[str, Any]:
            volume = self._answering(slug).volume
            reading = self._world.usage(volume)
            assert volume.database is not None
            return reading | {READ: tuple(volume.database.calls)}

        try:
            return await self._plane.effect(read, Unavailable)
        except Unavailable:
            self._tables.invariants.at_unread(slug, self._world.volumes.get(slug))
            raise

    @property
    def _is_cut_off(self) -> bool:
        return not self._by_activator and not self._world.reachable

    def _answering(self, slug: str) -> Instance:
        instance = self._world.instances.get(slug)
        if self._is_cut_off or instance is None or not self._world.is_ready(instance):
            raise Unavailable(f"{slug} does not answer")
        return instance


def is_stale(pushed: Pushed, database: Database) -> bool:
    """Whether an instance has a newer state already; then it refuses this one."""
    return database.generation is not None and pushed.generation < database.generation


def _seconds(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text is not None else None


def _observed(instance: Instance) -> Observed:
    return Observed(
        instance.slug,
        instance.state,
        instance.epoch,
        instance.revision,
        "image",
        instance.run_id,
        started_at=instance.started_at,
        exit_code=instance.exit_code,
    )
