"""One history: callers, operators and misfortunes, all by one seed, against the real plan and loop."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from control_plane.domain.tenants import Status
from control_plane.reconcile.loop import Reconciler
from control_plane.reconcile.ports import Unavailable
from control_plane.reconcile.seen import Policy
from control_plane.runtimes.protocol import RunState
from tests.simulation import virtual_time
from tests.simulation.customers import ApiProcess, Customers
from tests.simulation.invariants import Invariants, Violation
from tests.simulation.misfortunes import Misfortunes
from tests.simulation.mood import Mood, mood_of
from tests.simulation.plane import Faults, Plane, PlaneDead
from tests.simulation.routes import Routes
from tests.simulation.sim_data import SimBackups, SimVolumes
from tests.simulation.sim_machine import SimEdge, SimInstances, SimRuntime
from tests.simulation.sim_snapshot import SnapshotWriter
from tests.simulation.sim_store import SimStore, Tables
from tests.simulation.visitors import Visitors
from tests.simulation.world import World

POLICY = Policy(
    drain_s=1.0,
    stop_grace_s=2.0,
    start_s=3.0,
    unanswered_s=3.0,
    confirm_every_s=2.0,
    verify_first_s=4.0,
    verify_every_s=10.0,
    usage_every_s=1.0,
    verify_again_s=5.0,
    schedule_margin_s=1.0,
    schedule_patience_s=5.0,
)
TENANTS = ("ada", "bob", "eve")
TICK_S = 0.1
LONGEST_S = 60.0  # of trouble
SETTLE_S = 200.0
ENDS_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed."""

    seed: int
    effects: int
    checks: int
    lives: int
    violation: str = ""


class SimClock:
    """`Clock` of the world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> float:
        return self._world.now

    def monotonic(self) -> float:
        return self._world.monotonic

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class History:
    """Runs one seed from an empty machine to a settled one."""

    def __init__(self, seed: int, steps: int = 500, kill_at: int | None = None) -> None:
        self.seed = seed
        self._steps = steps
        self._kill_at = kill_at
        self.chance = random.Random(seed)
        self.world = World(self.chance)
        self.invariants = Invariants(self.world)
        self.tables = Tables(world=self.world, invariants=self.invariants)
        self.faults = Faults(delay=0.3) if mood_of(seed) is Mood.BUSY_AND_IDLE else Faults()
        self._api: ApiProcess | None = None
        self.routes = Routes(self.tables, self.chance, self.faults, lambda: self._plane)
        self.customers = Customers(self.tables, self.chance, lambda: self._api)
        self.misfortunes = Misfortunes(
            self.world, self.tables, self.chance, self.kill_plane, self.kill_activator, mood_of(seed)
        )
        self.effects = 0
        self.lives = 0
        self._down_until = 0.0
        self._plane: Plane | None = None
        self._plane_task: asyncio.Task[None] | None = None

    def run(self) -> Outcome:
        """To the end, or to the first violation."""
        logging.getLogger("control_plane").setLevel(logging.CRITICAL)
        virtual_time.run(self._run())
        return Outcome(self.seed, self.effects, self.invariants.checks, self.lives, self.invariants.broken)

    async def _run(self) -> None:
        # Tasks of a dead plane end with PlaneDead, which nobody awaits.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        ticking = asyncio.create_task(self._tick())
        visitors = Visitors(self.world, self.tables, self.chance, self.routes, self.customers, mood_of(self.seed))
        for slug in TENANTS[: self.chance.choice((1, 2, 3))]:
            self.tables.create(slug, self.chance.choice((1, 2)), self.chance.choice((3, 5)))
            self.customers.sign_up(slug)
        ends_at = self.world.monotonic + LONGEST_S
        while self._goes_on(ends_at) and not self.invariants.broken:
            await asyncio.sleep(visitors.pause_s())
            self._ensure_plane()
            (self.misfortunes if self.chance.random() < 0.2 else visitors).something()
        if not self.invariants.broken:
            await self._settle(visitors)
        ticking.cancel()
        visitors.leave()
        await self._bury()

    def _goes_on(self, ends_at: float) -> bool:
        return self.steps < self._steps and self.world.monotonic < ends_at

    @property
    def steps(self) -> int:
        """Effects of all lives until now."""
        return self.effects + self.routes.effects + (self._plane.effects if self._plane is not None else 0)

    async def _settle(self, visitors: Visitors) -> None:
        """Faults cease; after a while everything must be as wanted."""
        self.faults.cease()
        self.misfortunes.cease()
        await asyncio.sleep(4.0)  # calls that were begun end, faults that were to pass have passed
        self.misfortunes.cease()
        until, left = self.world.monotonic + SETTLE_S, "never looked"
        while self.world.monotonic < until and left and not self.invariants.broken:
            visitors.want_all_awake()
            await asyncio.sleep(0.25)
            self._ensure_plane()
            left = self._what_is_left()
        if left:
            self.invariants.broken = self.invariants.broken or f"{SETTLE_S:.0f} s after the last fault: {left}"
        elif not self.invariants.broken:
            await self._try_keys()

    async def _try_keys(self) -> None:
        """With nothing in the way, every key does what was promised of it, and a change of one takes at most a second."""
        running = [slug for slug, each in self.tables.tenants.items() if each.status is Status.RUNNING]
        await self._use_keys(running)
        for slug in running:
            late = await self.customers.ask_again(slug)
            if late:
                self.invariants.broken = self.invariants.broken or f"5. {slug}: {late} is not effective after a second"
        await self._use_keys(running)

    async def _use_keys(self, running: Sequence[str]) -> None:
        """Call every tenant that runs with every key of each."""
        calls = [(slug, held.text) for slug in running for keys in self.customers.held.values() for held in keys]
        with suppress(Violation):  # it is written down
            await asyncio.gather(*(self.routes.call(slug, text) for slug, text in calls))

    def _what_is_left(self) -> str:
        unreadable = self.misfortunes.unreadable
        for slug, tenant in self.tables.tenants.items():
            if left := self.invariants.finally_(tenant, slug in unreadable):
                return left
            if tenant.status is Status.RUNNING and (
                left := self.invariants.calls_left(tenant, self.tables.used.get(slug, 0))
            ):
                return left
        return self.invariants.nothing_left(self.misfortunes.orphans - self.tables.tenants.keys())

    # --- the machine and the plane --------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for instance in self.world.instances.values():
                if instance.state is RunState.RUNNING and self.world.is_ready(instance):
                    self.world.fold(instance.volume)
            if self.chance.random() < 0.4:
                for slug in list(self.world.registered):
                    self.world.replicate(slug)
                self.misfortunes.copy_plane()
            with suppress(Violation):  # it is written down
                self.invariants.always()

    def _ensure_plane(self) -> None:
        """A dead one is followed by another, after a while."""
        if self._plane is not None and self._plane.alive:
            return
        if self._plane_task is not None:
            self._plane_task.cancel()
            self._plane_task = None
            if self.faults.kill:
                self._down_until = self.world.monotonic + self.chance.choice((0.0, 0.2, 0.5, 3.0))
        if self.world.monotonic < self._down_until and self.faults.kill:
            return
        self.effects += self._plane.effects if self._plane is not None else 0
        self.lives += 1
        self._plane = plane = Plane(self.chance, self.faults, self._kill_at if self.lives == 1 else None)
        store = SimStore(plane, self.tables)
        self._api = ApiProcess(plane, store, SnapshotWriter(plane, self.tables))
        reconciler = Reconciler(
            store=store,
            runtime=SimRuntime(plane, self.tables),
            edge=SimEdge(plane, self.tables),
            backups=SimBackups(plane, self.tables),
            instances=SimInstances(plane, self.tables),
            volumes=SimVolumes(plane, self.tables),
            clock=SimClock(self.world),
            policy=POLICY,
            seed=self.chance.randrange(1 << 30),
        )
        self._plane_task = asyncio.create_task(self._live(reconciler, self._api))

    async def _live(self, reconciler: Reconciler, api: ApiProcess) -> None:
        parts = (reconciler.run(), api.snapshot.run(), self._keep_ends(api.plane))
        tasks = [asyncio.create_task(each) for each in parts]
        try:
            await asyncio.gather(*tasks)
        except PlaneDead:
            pass
        except Exception as error:
            self.invariants.broken = self.invariants.broken or f"a part of the control plane failed: {error!r}"
        finally:
            for task in tasks:
                task.cancel()

    async def _keep_ends(self, plane: Plane) -> None:
        """As `KeyEnds.keep`: whatever ends in the database is written beside the backups."""
        while True:
            seen = self.tables.changes.count
            try:
                for digest, ends_at in self.tables.ends_due().items():
                    if self.world.ends.get(digest) != ends_at:
                        await plane.effect(partial(self._write_end, digest, ends_at), Unavailable)
            except Unavailable:
                await plane.pause(ENDS_RETRY_S)
                continue
            await self.tables.changes.wait(seen, 60.0)

    def _write_end(self, digest: str, ends_at: float) -> None:
        if not self.world.store_up:
            raise Unavailable("the object store does not answer")
        self.world.ends[digest] = ends_at

    def kill_activator(self) -> None:
        """It too."""
        self.effects += self.routes.end_activator()

    def kill_plane(self) -> None:
        """`kill -9` between any two of its steps."""
        if self._plane is not None:
            self._plane.die()

    async def _bury(self) -> None:
        self.kill_plane()
        self.kill_activator()
        if self._plane is not None:
            self.effects += self._plane.effects
        if self._plane_task is not None:
            self._plane_task.cancel()
            await asyncio.gather(self._plane_task, return_exceptions=True)
