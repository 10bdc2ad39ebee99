"""How soon things happen, in virtual time: what is asked for does not wait for the pass, nor for other tenants."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from control_plane.domain.tenants import Desired, Status
from control_plane.reconcile.loop import Reconciler
from control_plane.routing.nap import NapResumer
from control_plane.runtimes.protocol import RunState
from tests.simulation import virtual_time
from tests.simulation.history import POLICY, SimClock
from tests.simulation.invariants import Invariants
from tests.simulation.plane import Faults, Plane
from tests.simulation.sim_data import SimBackups, SimVolumes
from tests.simulation.sim_machine import SimEdge, SimInstances, SimRuntime
from tests.simulation.sim_snapshot import SnapshotReader, SnapshotWriter
from tests.simulation.sim_store import SimStore, Tables
from tests.simulation.world import World

A_MOMENT_S = 0.05


@dataclass
class Calm:
    """A machine without misfortunes and the control plane at work on it."""

    world: World
    tables: Tables
    plane: Plane

    async def until(self, holds: Callable[[], bool], within_s: float) -> None:
        """Wait until that holds; it must within so long."""
        ends = self.world.monotonic + within_s
        while not holds():
            assert self.world.monotonic < ends, {slug: each.next_action for slug, each in self.tables.tenants.items()}
            await asyncio.sleep(0.001)

    def is_routed(self, slug: str) -> bool:
        instance = self.world.instances.get(slug)
        return instance is not None and self.world.links.get(slug) == instance.run_id

    def status(self, slug: str) -> Status:
        return self.tables.tenants[slug].status

    def wake(self, slug: str) -> None:
        self.tables.ask(slug, desired=Desired.RUNNING, wake_requested_at=self.world.now)


@asynccontextmanager
async def calm() -> AsyncIterator[Calm]:
    chance, faults = random.Random(1), Faults()
    faults.cease()
    world = World(chance)
    tables = Tables(world=world, invariants=Invariants(world))
    plane = Plane(chance, faults)
    reconciler = Reconciler(
        store=SimStore(plane, tables),
        runtime=SimRuntime(plane, tables),
        edge=SimEdge(plane, tables),
        backups=SimBackups(plane, tables),
        instances=SimInstances(plane, tables),
        volumes=SimVolumes(plane, tables),
        clock=SimClock(world),
        policy=POLICY,
        seed=1,
    )
    running = asyncio.create_task(reconciler.run())
    try:
        yield Calm(world, tables, plane)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert not tables.invariants.broken


def story(tell: Callable[[Calm], Awaitable[None]]) -> None:
    async def run() -> None:
        async with calm() as machine:
            await tell(machine)

    virtual_time.run(run())


def test_a_nap_ends_without_waiting_for_a_pass() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 2, 100)
        await machine.until(lambda: machine.status("ada") is Status.NAPPING, 10)
        for wait in (0.13, 0.57, 0.91):
            await asyncio.sleep(wait)
            machine.wake("ada")
            await machine.until(lambda: machine.is_routed("ada"), A_MOMENT_S)
            await machine.until(lambda: machine.status("ada") is Status.NAPPING, 10)

    story(tell)


def test_a_sleeping_tenant_is_routed_to_a_moment_after_its_instance_is_ready() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1, 2)
        await machine.until(lambda: machine.status("ada") is Status.ASLEEP, 10)
        await asyncio.sleep(0.3)
        machine.wake("ada")
        await machine.until(lambda: "ada" in machine.world.instances, A_MOMENT_S)
        ready_in = machine.world.instances["ada"].ready_at - machine.world.monotonic
        await machine.until(lambda: machine.is_routed("ada"), ready_in + A_MOMENT_S)

    story(tell)


def test_changed_keys_reach_an_instance_within_a_moment() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 100, 200)
        await machine.until(lambda: machine.status("ada") is Status.RUNNING, 10)
        machine.tables.write("ada")
        database = machine.world.volumes["ada"].database
        assert database is not None
        await machine.until(lambda: database.generation == machine.tables.tenants["ada"].generation, A_MOMENT_S)

    story(tell)


def test_a_container_removed_by_hand_comes_back() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 100, 200)
        await machine.until(lambda: machine.is_routed("ada"), 10)
        before = machine.world.instances.pop("ada")
        await machine.until(lambda: machine.is_routed("ada"), 3)
        assert machine.world.instances["ada"].run_id != before.run_id

    story(tell)


def test_twenty_tenants_that_take_their_time_to_stop_keep_nobody_from_waking() -> None:
    async def tell(machine: Calm) -> None:
        slow = [f"slow{n}" for n in range(20)]
        machine.tables.create("ada", 2, 100)
        for slug in slow:
            machine.tables.create(slug, 100, 200)
        await machine.until(lambda: all(machine.is_routed(slug) for slug in slow), 10)
        await machine.until(lambda: machine.status("ada") is Status.NAPPING, 10)
        for slug in slow:
            machine.world.instances[slug].slow_to_stop = POLICY.stop_grace_s
            machine.tables.write(slug, desired=Desired.SUSPENDED)
        await asyncio.sleep(0.2)
        machine.wake("ada")
        await machine.until(lambda: machine.is_routed("ada"), A_MOMENT_S)

    story(tell)


def test_a_settled_machine_is_left_alone() -> None:
    async def tell(machine: Calm) -> None:
        for n in range(50):
            machine.tables.create(f"ada{n}", 1, 2)
        await machine.until(lambda: all(each.status is Status.ASLEEP for each in machine.tables.tenants.values()), 60)
        before = machine.plane.effects
        await asyncio.sleep(60)
        assert (
            machine.plane.effects - before < 60 * 10
        )  # a handful of listings a second, whatever the number of tenants

    story(tell)


def test_whoever_is_frozen_by_hand_is_thawed() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 100, 200)
        await machine.until(lambda: machine.is_routed("ada"), 10)
        machine.world.instances["ada"].state = RunState.PAUSED
        await machine.until(lambda: machine.world.instances["ada"].state is RunState.RUNNING, 3)
        await machine.until(lambda: machine.is_routed("ada"), A_MOMENT_S)

    story(tell)


def test_the_activator_does_not_route_to_a_restored_database_that_was_not_verified() -> None:
    """The control plane dies before it judges: the instance runs, not drained and not routed to."""

    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1, 200)
        await machine.until(lambda: machine.status("ada") is Status.NAPPING, 10)
        ada, world = machine.world.instances["ada"], machine.world
        await SnapshotWriter(machine.plane, machine.tables).write()
        machine.plane.die()
        life = Plane(world.chance, machine.plane.faults)
        edge = SimEdge(life, machine.tables, by_activator=True)
        instances = SimInstances(life, machine.tables, by_activator=True)
        resume = NapResumer(SimRuntime(life, machine.tables), instances, edge, SnapshotReader(world))
        ada.draining = False
        assert not await resume("ada")
        assert "ada" not in world.links
        ada.draining = True
        assert await resume("ada")
        assert machine.is_routed("ada")

    story(tell)
