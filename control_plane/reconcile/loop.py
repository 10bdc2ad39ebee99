"""The reconciler: looks, decides by `plan`, acts, looks again, for all tenants side by side and each one by itself.

A pass over all tenants each second finds what changed by itself; a change made through the API starts a look at that
tenant at once. Whatever is remembered here only saves work and may be lost at any moment.
"""

from __future__ import annotations

import asyncio
import logging
import random
from itertools import islice
from typing import Any

from control_plane.domain.tenants import Tenant
from control_plane.reconcile.look import Machine, look_at_machine
from control_plane.reconcile.orphans import Orphans
from control_plane.reconcile.perform import Parts
from control_plane.reconcile.ports import Backups, Clock, Edge, Instances, Store, Unavailable, Volumes
from control_plane.reconcile.rounds import EXPECTED, Rounds
from control_plane.reconcile.seen import Policy
from control_plane.reconcile.track import Track
from control_plane.reconcile.turns import Turns, starts_for
from control_plane.runtimes.protocol import EngineError, Runtime

log = logging.getLogger(__name__)

PASS_S = 1.0
READY_EVERY_S = 20.0  # the engine's networks and rules are seen to again: a firewall may be reloaded at any time
PASS_SHARE = 4.0  # a pass over many tenants takes at most 1/5 of the time …
PASS_LEAST_OFTEN_S = 5.0  # … but is made as often as this: a slow one waited for the engine, as a rule
SLICE = 100  # tenants of a pass that are gone through before others get their turn in the process
NAMED_AT_MOST = 100  # tenants in one list of `status`


class Reconciler:
    """Brings every tenant to what is wanted of it; `run` until cancelled."""

    def __init__(
        self,
        *,
        store: Store,
        runtime: Runtime,
        edge: Edge,
        backups: Backups,
        instances: Instances,
        volumes: Volumes,
        clock: Clock,
        policy: Policy | None = None,
        starts_at_once: int = 0,
        seed: int | None = None,
    ) -> None:
        self._parts = Parts(store, runtime, edge, backups, instances, volumes, clock)
        self._tracks: dict[str, Track] = {}
        self._rounds = Rounds(self._parts, policy or Policy(), random.Random(seed))
        self._turns = Turns(self._parts, self._rounds, self._tracks, starts_at_once or starts_for())
        self._orphans = Orphans(self._parts)
        self._pass_s = 0.0
        self._passed_at: float | None = None
        self._paused = False

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Never returns; cancel it to stop. Nothing that was begun is undone."""
        beside = [asyncio.create_task(self._follow_changes())]
        try:
            await self._prepare()
            beside.append(asyncio.create_task(self._keep_ready()))
            while True:
                await self._parts.clock.sleep(await self._guarded_pass())
        finally:
            self._turns.hold_back()
            await self._cancel([*beside, *self._turns.tasks()])

    def pause(self) -> None:
        """Begin nothing new; what is being worked on is finished."""
        self._paused = True
        self._turns.hold_back()

    def resume(self) -> None:
        """Go on after a pause, from what is seen then."""
        self._paused = False
        self._turns.go_on()

    async def one_pass(self) -> None:
        """Look at everything once and start what is needed; the work itself goes on in tasks."""
        store = self._parts.store
        tenants = {each.slug: each for each in await store.tenants()}
        machine = await look_at_machine(self._parts)
        self._turns.verify_requests = frozenset([slug for slug, _ in await store.verify_requests()])
        at_rest: list[Tenant] = []
        for n, tenant in enumerate(tenants.values(), start=1):
            track = self._tracks.setdefault(tenant.slug, Track())
            if self._is_due(tenant, machine, track):
                if machine.has_nothing_of(tenant.slug):
                    at_rest.append(tenant)
                else:
                    self._turns.want(tenant, track)
            if n % SLICE == 0:
                await asyncio.sleep(0)
        await self._leave_resting(at_rest, machine)
        await self._orphans.see(tenants.keys(), machine)
        await self._forget(tenants.keys())

    async def settle(self) -> None:
        """Wait until no work is running."""
        while tasks := self._turns.tasks():
            await asyncio.wait(tasks)

    # --- what it is at --------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What it is at: for `GET /api/reconciler`. Lists of tenants are cut off; the counts are whole."""
        now = self._parts.clock.monotonic()
        working = sorted(slug for slug, each in self._tracks.items() if each.task is not None)
        failing = sorted(slug for slug, each in self._tracks.items() if each.failures)
        since_pass = now - self._passed_at if self._passed_at is not None else None
        return {
            "paused": self._paused,
            "pass_s": round(self._pass_s, 4),
            "since_pass_s": round(since_pass, 3) if since_pass is not None else None,
            "queues": self._turns.status(),
            "working": working[:NAMED_AT_MOST],
            "backing_off": {slug: self._tracks[slug].back_off(now) for slug in islice(failing, NAMED_AT_MOST)},
            "backing_off_count": len(failing),
            "unowned": self._orphans.unowned,
        }

    def progress(self, slug: str) -> dict[str, Any]:
        """What was seen of one tenant last, what stands in its way, and where it is in the queue."""
        track = self._tracks.get(slug) or Track()
        place = self._turns.position(slug)
        return {
            "observed": track.sighting.shape() if track.sighting is not None else None,
            "working": track.task is not None,
            **track.back_off(self._parts.clock.monotonic()),
            "queue": {"position": place[0], "estimated_s": place[1]} if place is not None else None,
        }

    def queue_position(self, slug: str) -> tuple[int, float] | None:
        """How many starts come before this tenant's and in how many seconds it is up, guessed; 0 = it is worked on.

        None for one that waits for nothing.
        """
        return self._turns.position(slug)

    # --- parts of a pass ----------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """The engine's networks and rules, before any instance is started; again until it worked."""
        while True:
            try:
                return await self._parts.runtime.prepare()
            except (EngineError, Unavailable, OSError) as error:
                log.error("the engine is not ready: %s", error)
                await self._parts.clock.sleep(2.0)

    async def _keep_ready(self) -> None:
        while True:
            await self._parts.clock.sleep(READY_EVERY_S)
            try:
                await self._parts.runtime.prepare()
            except (EngineError, Unavailable, OSError) as error:
                log.error("the engine's networks and rules were not seen to: %s", error)

    async def _guarded_pass(self) -> float:
        """Seconds until the next one is due. One that failed says nothing of how long they take."""
        begun = self._parts.clock.monotonic()
        try:
            if not self._paused:
                await self.one_pass()
                self._passed_at = self._parts.clock.monotonic()
                self._pass_s = self._passed_at - begun
        except EXPECTED as error:
            log.error("a pass was not completed: %s", error)
            return PASS_S
        except Exception:  # whatever it was, the next pass decides from what it sees then
            log.exception("a pass was not completed")
            return PASS_S
        return max(PASS_S, min(self._pass_s * PASS_SHARE, PASS_LEAST_OFTEN_S))

    async def _follow_changes(self) -> None:
        while True:
            try:
                for slug in sorted(await self._parts.store.wait_change(30.0)):
                    await self._changed(slug)
            except Exception:  # the passes find changes too, only later
                log.exception("changes cannot be followed")
                await self._parts.clock.sleep(1.0)

    async def _changed(self, slug: str) -> None:
        """Something was asked of this tenant: look at it now, back-off or not."""
        track = self._tracks.setdefault(slug, Track())
        track.asked, track.retry_at = True, 0.0
        if track.task is None and (tenant := await self._parts.store.tenant(slug)) is not None:
            self._turns.want(tenant, track)

    def _is_due(self, tenant: Tenant, machine: Machine, track: Track) -> bool:
        now = self._parts.clock.monotonic()
        if track.task is not None or now < track.retry_at or self._turns.waits(tenant.slug):
            return False
        requested = tenant.slug in self._turns.verify_requests
        asked = requested and track.verification is None and now >= track.verify_at
        if asked or now >= track.look_at:
            return True
        share = machine.of(tenant.slug)
        return track.settled != self._rounds.picture(tenant, share, self._parts.clock.now())

    async def _leave_resting(self, tenants: list[Tenant], machine: Machine) -> None:
        """Whoever rests and shall rest is left so, without a look of its own; the others are worked on."""
        if not tenants:
            return
        epochs = await self._parts.store.epochs_of([each.slug for each in tenants])
        for n, tenant in enumerate(tenants, start=1):
            track = self._tracks.setdefault(tenant.slug, Track())
            if track.task is not None or self._turns.waits(tenant.slug):
                continue
            requested = tenant.slug in self._turns.verify_requests
            known = epochs.get(tenant.slug, ())
            if not self._rounds.rests(tenant, machine, known, track, requested):
                self._turns.want(tenant, track)
            if n % SLICE == 0:
                await asyncio.sleep(0)

    async def _forget(self, known: Any) -> None:
        for slug in [each for each in self._tracks if each not in known]:
            idle = self._tracks[slug].task is None and self._tracks[slug].verifying is None
            if idle and await self._parts.store.tenant(slug) is None:
                self._turns.forget(slug)
                self._tracks.pop(slug, None)

    async def _cancel(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
