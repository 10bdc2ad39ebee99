"""Callers, customers and operators: whoever wants something of a tenant."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime

from control_plane.domain.tenants import Desired, RestoreRequest, Status
from control_plane.runtimes.protocol import RunState
from tests.simulation.sim_store import Tables
from tests.simulation.world import Instance, World


class Visitors:
    """Each `something` is one thing that one of them does."""

    def __init__(self, world: World, tables: Tables, chance: random.Random) -> None:
        self._world = world
        self._tables = tables
        self._chance = chance
        self._calls: set[asyncio.Task[None]] = set()

    def something(self) -> None:
        """A call, mostly."""
        slugs = list(self._tables.tenants)
        if not slugs:
            return
        slug = self._chance.choice(slugs)
        if self._chance.random() < 0.6:
            self._call(slug)
            return
        doings = (self._change_key, self._sleep, self._wake, self._suspend, self._resume, self._restart)
        more = (self._restore_newest, self._restore_at, self._restore_epoch, self._verify, self._delete, self._resume)
        self._chance.choice(doings + more)(slug)

    def want_all_awake(self) -> None:
        """At the end: whoever shall run is called and not let sleep."""
        for slug, tenant in list(self._tables.tenants.items()):
            if tenant.desired is Desired.RUNNING:
                changes = {
                    "nap_after_s": 100_000,
                    "sleep_after_s": 1_000_000,
                    "wake_requested_at": self._world.now + 1.0,
                }
                self._tables.tenants[slug] = replace(tenant, created_at=0.0, last_request_at=None)
                self._tables.write(slug, **changes)

    # --- a call ---------------------------------------------------------------------------------------------------------

    def _call(self, slug: str) -> None:
        """By the edge if it is routed, else by the activator, who wakes it."""
        run_id = self._world.links.get(slug)
        instance = self._world.instances.get(slug)
        routed = instance is not None and instance.run_id == run_id and instance.state is not RunState.EXITED
        if routed and instance is not None:
            self._take(instance)
        else:
            self._wake_by_call(slug)

    def _wake_by_call(self, slug: str) -> None:
        tenant = self._tables.tenants[slug]
        refused = tenant.desired in (Desired.SUSPENDED, Desired.DELETED) or tenant.status is Status.FAILED
        if not refused:
            self._wake(slug)

    def _take(self, instance: Instance) -> None:
        instance.in_flight += 1
        task = asyncio.create_task(self._answer(instance))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _answer(self, instance: Instance) -> None:
        """The instance works, and writes the call down before it is answered; frozen, it does neither."""
        await asyncio.sleep(self._chance.choice((0.01, 0.05, 0.3, 1.6)))
        while instance.state is RunState.PAUSED:
            await asyncio.sleep(0.1)
        if instance.state is not RunState.RUNNING:
            return
        instance.in_flight -= 1
        instance.last_call_at, instance.called_at = self._world.monotonic, self._world.now
        instance.volume.journal.append(self._world.number())

    # --- wishes ---------------------------------------------------------------------------------------------------------

    def _change_key(self, slug: str) -> None:
        self._tables.write(slug)

    def _sleep(self, slug: str) -> None:
        if self._tables.tenants[slug].desired is Desired.RUNNING:
            self._tables.ask(slug, desired=Desired.ASLEEP, sleep_requested_at=self._world.now)

    def _wake(self, slug: str) -> None:
        if self._tables.tenants[slug].desired in (Desired.RUNNING, Desired.ASLEEP):
            self._tables.ask(slug, desired=Desired.RUNNING, wake_requested_at=self._world.now)

    def _suspend(self, slug: str) -> None:
        if self._tables.tenants[slug].desired is not Desired.DELETED:
            self._tables.write(slug, desired=Desired.SUSPENDED, reason="unpaid")

    def _resume(self, slug: str) -> None:
        if slug not in self._tables.doomed:
            self._tables.write(slug, desired=Desired.RUNNING, delete_after=None)

    def _restart(self, slug: str) -> None:
        self._tables.ask(slug, restart_requested_at=self._world.now)

    def _delete(self, slug: str) -> None:
        if slug not in self._tables.doomed and self._chance.random() < 0.3:
            self._tables.write(slug, desired=Desired.DELETED, delete_after=self._world.now + 4.0)

    def _verify(self, slug: str) -> None:
        self._tables.verify.add(slug)

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
