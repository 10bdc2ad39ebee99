"""How soon things happen, in virtual time: what is asked for does not wait for the pass, nor for other tenants."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from control_plane.domain.tenants import Desired, Status
from control_plane.reconcile import rounds
from control_plane.reconcile.actions import CollectUsage
from control_plane.reconcile.depth import Depth
from control_plane.reconcile.loop import Reconciler
from control_plane.reconcile.plan import Decision
from control_plane.reconcile.ports import Activity
from control_plane.routing.nap import NapResumer
from control_plane.runtimes.protocol import EngineError, Observed, RunState
from tests.simulation import virtual_time
from tests.simulation.history import POLICY, SimClock
from tests.simulation.invariants import Invariants
from tests.simulation.plane import Faults, Plane
from tests.simulation.sim_data import SimBackups, SimVolumes
from tests.simulation.sim_machine import SimEdge, SimInstances, SimRuntime
from tests.simulation.sim_snapshot import SnapshotWriter, snapshot_reader
from tests.simulation.sim_store import SimStore, Tables
from tests.simulation.world import Database, World

A_MOMENT_S = 0.05
STARTS_AT_ONCE = 4


@dataclass
class Calm:
    """A machine without misfortunes and the control plane at work on it."""

    world: World
    tables: Tables
    plane: Plane
    reconciler: Reconciler
    done: list[float] = field(default_factory=list)  # when something scheduled was done
    running: list[asyncio.Task[None]] = field(default_factory=list)

    def run(self, *works: Coroutine[Any, Any, None]) -> None:
        self.running += [asyncio.create_task(work) for work in works]

    async def end(self) -> None:
        """Nothing runs any more."""
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)
        self.running.clear()

    @asynccontextmanager
    async def next_life(self) -> AsyncIterator[Reconciler]:
        """The control plane ends, and another begins on what is there."""
        await self.end()
        self.reconciler = a_life(self.world, self.tables, self.plane)
        self.run(self.reconciler.run(), self.work())
        yield self.reconciler

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

    def database(self, slug: str) -> Database:
        found = self.world.volumes[slug].database
        assert found is not None
        return found

    async def work(self) -> None:
        """What instances do by themselves while they run."""
        while True:
            for instance in self.world.instances.values():
                if instance.state is RunState.RUNNING and self.world.do_scheduled(instance):
                    self.done.append(self.world.now)
            await asyncio.sleep(0.01)

    def wake(self, slug: str) -> None:
        self.tables.ask(slug, desired=Desired.RUNNING, wake_requested_at=self.world.now)


@asynccontextmanager
async def calm() -> AsyncIterator[Calm]:
    chance, faults = random.Random(1), Faults()
    faults.cease()
    world = World(chance)
    tables = Tables(world=world, invariants=Invariants(world))
    plane = Plane(chance, faults)
    machine = Calm(world, tables, plane, a_life(world, tables, plane))
    machine.run(machine.reconciler.run(), machine.work())
    try:
        yield machine
    finally:
        await machine.end()
    assert not tables.invariants.broken


def a_life(world: World, tables: Tables, plane: Plane) -> Reconciler:
    return Reconciler(
        store=SimStore(plane, tables),
        runtime=SimRuntime(plane, tables),
        edge=SimEdge(plane, tables),
        backups=SimBackups(plane, tables),
        instances=SimInstances(plane, tables),
        volumes=SimVolumes(plane, tables),
        clock=SimClock(world),
        policy=POLICY,
        starts_at_once=STARTS_AT_ONCE,
        seed=1,
    )


def story(tell: Callable[[Calm], Awaitable[None]]) -> None:
    async def run() -> None:
        async with calm() as machine:
            await tell(machine)

    virtual_time.run(run())


def test_an_engine_that_hung_holds_nothing_up_once_it_is_back() -> None:
    """An instance that died meanwhile is found within moments, though the last pass took long."""

    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1000, 2000)
        await machine.until(lambda: machine.is_routed("ada"), 10)
        looked = SimRuntime.observe

        for fails in (True, False):
            hung_until = machine.world.monotonic + 30.0

            async def hanging(
                runtime: SimRuntime, name: str | None = None, hung_until: float = hung_until, fails: bool = fails
            ) -> list[Observed]:
                hung = machine.world.monotonic < hung_until
                await asyncio.sleep(max(0.0, hung_until - machine.world.monotonic))
                if hung and fails:
                    raise EngineError("the connection was reset")
                return await looked(runtime, name)

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(SimRuntime, "observe", hanging)
                await asyncio.sleep(hung_until - machine.world.monotonic)
                before = machine.world.instances.pop("ada")
                await machine.until(
                    lambda before=before: machine.is_routed("ada") and machine.world.instances["ada"] is not before, 8
                )  # type: ignore[misc]

    story(tell)


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
        resume = NapResumer(SimRuntime(life, machine.tables), instances, edge, snapshot_reader(world))
        ada.draining = False
        assert not await resume("ada")
        assert "ada" not in world.links
        ada.draining = True
        assert await resume("ada")
        assert machine.is_routed("ada")


def test_one_that_the_activator_routes_to_while_it_is_being_frozen_is_thawed_at_once() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1, 1_000)
        await machine.until(lambda: machine.is_routed("ada"), 10)
        real = SimRuntime.pause

        async def pause(self: SimRuntime, name: str) -> None:
            await real(self, name)
            machine.world.links[name] = machine.world.sockets[name]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SimRuntime, "pause", pause)
            await machine.until(lambda: any("being frozen" in each[3] for each in machine.tables.events), 10)
        assert machine.world.instances["ada"].state is RunState.RUNNING

    story(tell)


def test_what_never_comes_to_rest_is_worked_on_once_a_pass_and_not_without_end() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1_000, 2_000)
        await machine.until(lambda: machine.is_routed("ada"), 10)
        looks = 0

        def restless(*arguments: object) -> Decision:
            nonlocal looks
            looks += 1
            if looks > 1_000:
                raise OSError("it is looked at without end")
            return Decision(Depth.AWAKE, (CollectUsage(),))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rounds, "decide", restless)
            machine.wake("ada")
            await asyncio.sleep(10.0)
        assert 10 < looks < 300
        await machine.until(lambda: machine.reconciler.progress("ada")["working"] is False, 10)

    story(tell)


# --- turns --------------------------------------------------------------------------------------------------------------


def test_no_more_instances_start_at_once_than_may_and_all_are_up_in_the_end() -> None:
    async def tell(machine: Calm) -> None:
        slugs = [f"herd{n}" for n in range(40)]
        for slug in slugs:
            machine.tables.create(slug, 1_000, 2_000)
        most = 0

        def all_up() -> bool:
            nonlocal most
            begun = [each for each in machine.world.instances.values() if each.ready_at > machine.world.monotonic]
            most = max(most, len(begun))
            return all(machine.is_routed(slug) for slug in slugs)

        await machine.until(all_up, 60)
        assert 1 < most <= STARTS_AT_ONCE

    story(tell)


def test_no_more_sleepers_than_may_start_are_on_their_way_to_being_routed_to() -> None:
    async def tell(machine: Calm) -> None:
        slugs = [f"herd{n}" for n in range(40)]
        for slug in slugs:
            machine.tables.create(slug, 1_000, 2_000)
        await machine.until(lambda: all(machine.status(slug) is Status.RUNNING for slug in slugs), 60)
        for slug in slugs:
            machine.tables.ask(slug, desired=Desired.ASLEEP)
        await machine.until(lambda: all(machine.status(slug) is Status.ASLEEP for slug in slugs), 60)
        real, most = SimBackups.register, 0

        async def register(self: SimBackups, slug: str, epoch: int) -> None:
            await asyncio.sleep(1.0)  # longer than a start
            await real(self, slug, epoch)

        def all_up() -> bool:
            nonlocal most
            most = max(most, len([slug for slug in machine.world.instances if not machine.is_routed(slug)]))
            return all(machine.is_routed(slug) for slug in slugs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SimBackups, "register", register)
            for slug in slugs:
                machine.wake(slug)
            await machine.until(all_up, 60)
        assert 1 < most <= STARTS_AT_ONCE

    story(tell)


def test_a_tenant_that_waits_for_its_start_is_told_its_place_in_the_queue() -> None:
    async def tell(machine: Calm) -> None:
        slugs = [f"herd{n}" for n in range(20)]
        for slug in slugs:
            machine.tables.create(slug, 1_000, 2_000)
        places: set[int] = set()

        def all_up() -> bool:
            places.update(place[0] for slug in slugs if (place := machine.reconciler.queue_position(slug)) is not None)
            return all(machine.is_routed(slug) for slug in slugs)

        await machine.until(all_up, 60)
        assert {0, 1, 2, 3, 10} <= places
        assert machine.reconciler.queue_position(slugs[0]) is None

    story(tell)


def test_one_accounts_herd_does_not_keep_anothers_tenant_waiting() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1, 2)
        machine.tables.tenants["ada"].account_id = 2
        await machine.until(lambda: machine.status("ada") is Status.ASLEEP, 20)
        herd = [f"herd{n}" for n in range(200)]
        for slug in herd:
            machine.tables.create(slug, 1_000, 2_000)
            machine.wake(slug)
        await asyncio.sleep(0.05)
        machine.wake("ada")
        await machine.until(lambda: machine.is_routed("ada"), 1.0)
        await machine.until(lambda: all(machine.is_routed(slug) for slug in herd), 60)

    story(tell)


def test_a_napping_tenant_does_not_wait_for_the_starts_of_others() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1, 1_000)
        await machine.until(lambda: machine.status("ada") is Status.NAPPING, 20)
        for n in range(60):
            machine.tables.create(f"herd{n}", 1_000, 2_000)
        await asyncio.sleep(0.05)
        machine.wake("ada")
        await machine.until(lambda: machine.is_routed("ada"), A_MOMENT_S)

    story(tell)


# --- what is scheduled ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "nap_s", "sleep_s"), [(Status.NAPPING, 1, 1_000), (Status.ASLEEP, 1, 2)])
def test_what_is_scheduled_in_a_resting_tenant_is_done_in_time_and_it_rests_again(
    status: Status, nap_s: int, sleep_s: int
) -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", nap_s, sleep_s)
        await machine.until(lambda: machine.is_routed("ada"), 10)
        due = machine.world.now + 300.0
        machine.database("ada").scheduled_at = due
        await machine.until(lambda: machine.status("ada") is status, 20)
        await asyncio.sleep(due - machine.world.now - 5.0)
        assert machine.status("ada") is status and not machine.done
        await machine.until(lambda: bool(machine.done), 10)
        assert machine.done[0] - due < 0.5
        await machine.until(lambda: machine.status("ada") is status, 20)
        assert machine.tables.tenants["ada"].scheduled_next_at is None

    story(tell)


def test_one_put_to_sleep_by_wish_is_awake_for_what_is_scheduled_and_then_asleep_again() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1_000, 2_000)
        await machine.until(lambda: machine.is_routed("ada"), 10)
        machine.database("ada").scheduled_at = due = machine.world.now + 60.0
        await asyncio.sleep(20.0)
        machine.tables.ask("ada", desired=Desired.ASLEEP)
        await machine.until(lambda: machine.status("ada") is Status.ASLEEP, 20)
        await machine.until(lambda: bool(machine.done), 60)
        assert machine.done[0] - due < 0.5
        await machine.until(lambda: machine.status("ada") is Status.ASLEEP, 20)

    story(tell)


def test_what_an_instance_never_does_does_not_keep_it_awake_for_ever() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1, 2)
        await machine.until(lambda: machine.is_routed("ada"), 10)
        machine.database("ada").scheduled_at = machine.world.now + 1e9  # the instance itself does nothing before that
        machine.tables.tenants["ada"].scheduled_next_at = machine.world.now
        told = machine.world.now + 3.0
        real = SimInstances.activity

        async def stuck(self: SimInstances, slug: str) -> Activity:
            return replace(await real(self, slug), scheduled_next_at=told)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SimInstances, "activity", stuck)
            await asyncio.sleep(6.0)
            assert machine.status("ada") is Status.RUNNING
            await machine.until(lambda: machine.status("ada") is Status.ASLEEP, 20)
            await asyncio.sleep(60.0)
            assert machine.status("ada") is Status.ASLEEP

    story(tell)


# --- what is told ---------------------------------------------------------------------------------------------------------


def test_what_was_seen_of_a_tenant_and_what_is_in_its_way_is_told() -> None:
    async def tell(machine: Calm) -> None:
        assert machine.reconciler.progress("ada")["observed"] is None
        machine.tables.create("ada", 1_000, 2_000)
        await machine.until(lambda: machine.status("ada") is Status.RUNNING, 10)
        told = machine.reconciler.progress("ada")
        seen = told["observed"]
        assert (seen["instance"], seen["epoch"], seen["linked"], seen["registered"]) == ("running", 1, True, 1)
        assert (seen["ready"], seen["in_flight"], seen["generation"]) == (True, 0, {"incarnation": 1, "number": 1})
        assert (told["failures"], told["trouble"], told["retry_in_s"], told["queue"]) == (0, None, None, None)
        machine.world.instances["ada"].works = False
        machine.tables.ask("ada", restart_requested_at=machine.world.now)
        machine.plane.faults.broken_start = 1.0
        await machine.until(lambda: machine.reconciler.progress("ada")["failures"] > 1, 30)
        told = machine.reconciler.progress("ada")
        assert "was not ready" in told["trouble"] and told["retry_in_s"] is not None

    story(tell)
