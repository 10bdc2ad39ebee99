"""Callers, customers and operators: whoever wants something of a tenant."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from control_plane.domain.tenants import Desired, RestoreRequest
from tests.simulation.customers import Customers, Held
from tests.simulation.mood import Mood
from tests.simulation.routes import Routes
from tests.simulation.sim_store import Tables
from tests.simulation.world import World

EVENTS_PER_S = 10.0
NO_NAP_S = 100_000


class Visitors:
    """Each `something` is one thing that one of them does."""

    def __init__(
        self, world: World, tables: Tables, chance: random.Random, routes: Routes, customers: Customers, mood: Mood
    ) -> None:
        self._world = world
        self._tables = tables
        self._chance = chance
        self._routes = routes
        self._customers = customers
        self._mood = mood
        self._tasks: dict[asyncio.Task[object], None] = {}

    def something(self) -> None:
        """A call, mostly."""
        slugs = list(self._tables.tenants)
        if not slugs:
            return
        slug = self._chance.choice(slugs)
        dice = self._chance.random()
        if dice < 0.5:
            self._call(slug)
        elif dice < 0.65 or (dice < 0.8 and self._mood is Mood.LOST_PLANES):
            self._keys(slug)
        else:
            self._chance.choice(self._wishes())(slug)

    def pause_s(self) -> float:
        """Until the next of them comes."""
        if self._mood is Mood.BUSY_AND_IDLE and self._chance.random() < 0.1:
            return self._chance.uniform(0.5, 3.0)
        return self._chance.expovariate(EVENTS_PER_S)

    def _wishes(self) -> Sequence[Callable[[str], None]]:
        restores = (self._restore_newest, self._restore_at, self._restore_epoch)
        match self._mood:
            case Mood.BAD_DISKS | Mood.LOST_PLANES:
                return (self._restore_newest, *restores, self._wake, self._sleep, self._verify)
            case Mood.BUSY_AND_IDLE:
                return (self._wake, self._change)
        rest = (self._change, self._sleep, self._wake, self._suspend, self._resume, self._resume, self._restart)
        return (*restores, *rest, self._verify, self._delete)

    def want_all_awake(self) -> None:
        """At the end: whoever shall run is called and not let sleep; also one that a wake on its way reached only now."""
        for slug, tenant in list(self._tables.tenants.items()):
            if tenant.desired is Desired.RUNNING and tenant.nap_after_s != NO_NAP_S:
                changes = {
                    "nap_after_s": NO_NAP_S,
                    "sleep_after_s": 1_000_000,
                    "wake_requested_at": self._world.now + 1.0,
                }
                self._tables.tenants[slug] = replace(tenant, created_at=0.0, last_request_at=None)
                self._tables.write(slug, **changes)

    def leave(self) -> None:
        """Whoever still waits goes away."""
        for task in list(self._tasks):
            task.cancel()

    def _begin(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    # --- calls and keys -------------------------------------------------------------------------------------------------

    def _call(self, slug: str) -> None:
        """With a key of its own mostly, ended ones among them; sometimes with another tenant's, or none at all."""
        owner = self._chance.choice(list(self._tables.tenants)) if self._chance.random() < 0.1 else slug
        held = self._customers.held.get(owner, ())
        text = self._chance.choice(held).text if held and self._chance.random() < 0.95 else "sk-sy-nobody"
        self._begin(self._routes.call(slug, text))

    def _keys(self, slug: str) -> None:
        customers, held = self._customers, self._key_of(slug)
        if held is None or self._chance.random() < 0.3:
            self._begin(customers.create(slug, self._chance.choice((None, None, 3.0))))
        else:
            self._begin(self._chance.choice((customers.revoke, customers.rotate, customers.extend))(slug, held))

    def _key_of(self, slug: str) -> Held | None:
        alive = [each for each in self._customers.held.get(slug, ()) if not each.revoked]
        return self._chance.choice(alive) if alive else None

    # --- wishes ---------------------------------------------------------------------------------------------------------

    def _change(self, slug: str) -> None:
        self._tables.write(slug)

    def _sleep(self, slug: str) -> None:
        if self._tables.tenants[slug].desired is Desired.RUNNING:
            self._tables.desire(slug, Desired.ASLEEP)

    def _wake(self, slug: str) -> None:
        if self._tables.tenants[slug].desired in (Desired.RUNNING, Desired.ASLEEP):
            self._tables.desire(slug, Desired.RUNNING)

    def _suspend(self, slug: str) -> None:
        if self._tables.tenants[slug].desired is not Desired.DELETED:
            self._tables.desire(slug, Desired.SUSPENDED, "unpaid")

    def _resume(self, slug: str) -> None:
        if slug not in self._tables.doomed:
            self._tables.write(slug, desired=Desired.RUNNING, delete_after=None)

    def _restart(self, slug: str) -> None:
        self._tables.ask(slug, restart_requested_at=self._world.now)

    def _delete(self, slug: str) -> None:
        if slug not in self._tables.doomed and self._chance.random() < 0.3:
            self._tables.write(slug, desired=Desired.DELETED, delete_after=self._world.now + 4.0)

    def _verify(self, slug: str) -> None:
        self._tables.verify[slug] = None

    def _restore_newest(self, slug: str) -> None:
        self._restore(slug, None, None)

    def _restore_at(self, slug: str) -> None:
        moment = self._world.now - self._chance.uniform(0.0, 8.0)
        self._restore(slug, datetime.fromtimestamp(moment, UTC).isoformat(), None)

    def _restore_epoch(self, slug: str) -> None:
        epochs = self._tables.epochs[slug]
        if epochs:
            self._restore(slug, None, self._chance.choice(epochs).n)

    def _restore(self, slug: str, at: str | None, epoch: int | None) -> None:
        request = RestoreRequest(at=at, epoch=epoch, requested_at=self._world.now + self._chance.random() / 1000)
        self._tables.ask(slug, restore=request)
