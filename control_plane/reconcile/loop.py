"""The reconciler: looks, decides by `plan`, acts, looks again, for all tenants side by side and each one by itself.

A pass over all tenants each second finds what changed by itself; a change made through the API starts a look at that
tenant at once. Whatever is remembered here only saves work and may be lost at any moment.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

from control_plane.domain.tenants import Tenant
from control_plane.reconcile import actions as act
from control_plane.reconcile.look import Machine, look_at_machine
from control_plane.reconcile.orphans import remove_orphan
from control_plane.reconcile.perform import Parts
from control_plane.reconcile.ports import Backups, Clock, Edge, Instances, Store, Unavailable, Volumes
from control_plane.reconcile.rounds import EXPECTED, Rounds
from control_plane.reconcile.seen import Policy
from control_plane.reconcile.track import Track
from control_plane.runtimes.protocol import EngineError, Runtime
from instance.core import log_lines

log = logging.getLogger(__name__)

PASS_S = 1.0
PASS_SHARE = 4.0  # a pass over many tenants takes at most 1/5 of the time
NOTHING_TO_VERIFY_S = 15.0  # a request to verify is looked at again after
WAKING_AT_ONCE = 32
OTHERS_AT_ONCE = 8


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
        seed: int | None = None,
    ) -> None:
        self._parts = Parts(store, runtime, edge, backups, instances, volumes, clock)
        self._tracks: dict[str, Track] = {}
        self._verify_requests: set[str] = set()
        self._waking = asyncio.Semaphore(WAKING_AT_ONCE)
        self._others = asyncio.Semaphore(OTHERS_AT_ONCE)
        self._rounds = Rounds(self._parts, policy or Policy(), random.Random(seed))
        self._pass_s = 0.0
        self._passed_at: float | None = None
        self._paused = False

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Never returns; cancel it to stop. Nothing that was begun is undone."""
        changes = asyncio.create_task(self._follow_changes())
        try:
            await self._prepare()
            while True:
                begun = self._parts.clock.monotonic()
                await self._guarded_pass()
                self._pass_s = self._parts.clock.monotonic() - begun
                await self._parts.clock.sleep(max(PASS_S, self._pass_s * PASS_SHARE))
        finally:
            await self._cancel([changes, *self._tasks()])

    def notify(self, slug: str) -> None:
        """Something was asked of this tenant: look at it now, back-off or not."""
        track = self._tracks.setdefault(slug, Track())
        track.asked, track.retry_at = True, 0.0
        if not self._paused:
            self._begin(slug, track)

    def pause(self) -> None:
        """Begin nothing new; what is being worked on is finished."""
        self._paused = True

    def resume(self) -> None:
        """Go on after a pause, from what is seen then."""
        self._paused = False

    def status(self) -> dict[str, Any]:
        """What it is at: for `GET /api/reconciler`."""
        now = self._parts.clock.monotonic()
        working = sorted(slug for slug, each in self._tracks.items() if each.task is not None)
        waiting = {
            slug: {
                "failures": each.failures,
                "trouble": each.trouble,
                "retry_in_s": round(max(0.0, each.retry_at - now), 3),
            }
            for slug, each in sorted(self._tracks.items())
            if each.failures
        }
        since_pass = now - self._passed_at if self._passed_at is not None else None
        return {
            "paused": self._paused,
            "pass_s": round(self._pass_s, 4),
            "since_pass_s": round(since_pass, 3) if since_pass is not None else None,
            "working": working,
            "backing_off": waiting,
        }

    async def one_pass(self) -> None:
        """Look at everything once and start what is needed; the work itself goes on in tasks."""
        store = self._parts.store
        tenants = {each.slug: each for each in await store.tenants()}
        machine = await look_at_machine(self._parts)
        self._verify_requests = {slug for slug, _ in await store.verify_requests()}
        for slug, tenant in tenants.items():
            track = self._tracks.setdefault(slug, Track())
            if self._is_due(tenant, machine, track):
                self._begin(slug, track)
        await self._remove_orphans(tenants, machine)

    async def settle(self) -> None:
        """Wait until no work is running."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    # --- parts of a pass ----------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        """The engine's networks and rules, before any instance is started; again until it worked."""
        while True:
            try:
                return await self._parts.runtime.prepare()
            except (EngineError, Unavailable, OSError) as error:
                log.error("the engine is not ready: %s", error)
                await self._parts.clock.sleep(2.0)

    async def _guarded_pass(self) -> None:
        try:
            if not self._paused:
                await self.one_pass()
                self._passed_at = self._parts.clock.monotonic()
        except EXPECTED as error:
            log.error("a pass was not completed: %s", error)
        except Exception:  # whatever it was, the next pass decides from what it sees then
            log.exception("a pass was not completed")

    async def _follow_changes(self) -> None:
        while True:
            try:
                slugs = await self._parts.store.wait_change(30.0)
            except Exception:  # the passes find changes too, only later
                log.exception("changes cannot be followed")
                await self._parts.clock.sleep(1.0)
                continue
            for slug in sorted(slugs):
                self.notify(slug)

    def _is_due(self, tenant: Tenant, machine: Machine, track: Track) -> bool:
        now = self._parts.clock.monotonic()
        if track.task is not None or now < track.retry_at:
            return False
        asked = tenant.slug in self._verify_requests and track.verifying is None and now >= track.verify_at
        return asked or now >= track.look_at or track.settled != self._rounds.picture(tenant, machine)

    async def _remove_orphans(self, tenants: dict[str, Tenant], machine: Machine) -> None:
        found = {*machine.instances, *machine.linked, *machine.registered} - tenants.keys()
        for slug in sorted(found):
            if await self._parts.store.tenant(slug) is None:  # not one that was created a moment ago
                await remove_orphan(self._parts, slug, machine)
        for slug in [each for each in self._tracks if each not in tenants]:
            if self._tracks[slug].task is None and await self._parts.store.tenant(slug) is None:
                del self._tracks[slug]

    # --- one tenant ---------------------------------------------------------------------------------------------------

    def _begin(self, slug: str, track: Track) -> None:
        if track.task is None:
            track.task = asyncio.create_task(self._work(slug, track), name=f"reconcile {slug}")

    async def _work(self, slug: str, track: Track) -> None:
        log_lines.tenant.set(slug)  # of this task alone
        try:
            while True:
                track.asked = False
                tenant = await self._parts.store.tenant(slug)
                if tenant is None:
                    return
                async with self._waking if self._rounds.is_waking(tenant) else self._others:
                    background = await self._rounds.bring_about(tenant, track, slug in self._verify_requests)
                self._verify(slug, track, background)
                if not track.asked:
                    return
        except Exception as error:  # recorded in the back-off; the next look starts afresh
            log.error("tenant %s: %s", slug, error, exc_info=not isinstance(error, EXPECTED))
            track.failed(str(error), self._parts.clock.monotonic(), self._rounds.chance)
        finally:
            track.task = None

    def _verify(self, slug: str, track: Track, background: tuple[act.Action, ...]) -> None:
        now = self._parts.clock.monotonic()
        if slug in self._verify_requests and not background:
            track.verify_at = now + NOTHING_TO_VERIFY_S
        for action in background:
            if track.verifying is None and now >= track.verify_at:
                work = self._rounds.verify(slug, action, track)
                track.verifying = asyncio.create_task(work, name=f"verify {slug}")

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [task for each in self._tracks.values() for task in (each.task, each.verifying) if task is not None]

    async def _cancel(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
