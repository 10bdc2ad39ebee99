"""Runs the pieces of work on tenants, each when it is its turn: so many at once, fewer that start an instance.

A tenant waits in one queue at a time and no task waits with it, so ten thousand that wait cost next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Collection
from statistics import median

from control_plane.domain.tenants import Desired, Status, Tenant
from control_plane.reconcile import actions as act
from control_plane.reconcile.fair_queue import FairQueue
from control_plane.reconcile.perform import Parts
from control_plane.reconcile.rounds import EXPECTED, Rounds, Then
from control_plane.reconcile.track import Track
from instance.core import log_lines

log = logging.getLogger(__name__)

WORK_AT_ONCE = 40
OTHERS_AT_ONCE = 24  # of these, at most, that nobody waits for: stops and restores take long
STARTS_LEAST = 4
NOTHING_TO_VERIFY_S = 15.0  # a request to verify is looked at again after
FIRST_GUESS_START_S = 1.0
STARTS_REMEMBERED = 15  # of which the median is the guess of how long one takes


def starts_for(cpus: int | None = None) -> int:
    """How many instances may start at once on a machine: more make every one of them slow."""
    return max(STARTS_LEAST, 2 * (cpus or os.cpu_count() or 1))


def verifications_for(cpus: int | None = None) -> int:
    """How many backups may be restored and checked at once beside everything else: half the processors' worth."""
    return max(1, (cpus or os.cpu_count() or 1) // 2)


class Turns:
    """`tracks` is shared with the loop; `verify_requests` is set by it."""

    def __init__(self, parts: Parts, rounds: Rounds, tracks: dict[str, Track], starts_at_once: int) -> None:
        self._parts = parts
        self._rounds = rounds
        self._tracks = tracks
        self._work = FairQueue(WORK_AT_ONCE, OTHERS_AT_ONCE)
        self._starts = FairQueue(starts_at_once)
        self._verifying = FairQueue(verifications_for())
        self._took_s = deque([FIRST_GUESS_START_S], maxlen=STARTS_REMEMBERED)
        self._held_back = False
        self.verify_requests: Collection[str] = ()

    # --- waiting --------------------------------------------------------------------------------------------------------

    def want(self, tenant: Tenant, track: Track) -> None:
        """Have this tenant looked at and worked on; one that is being worked on sees `track.asked` by itself."""
        slug, urgent = tenant.slug, self._rounds.is_waited_for(tenant)
        if track.task is not None:
            return
        if slug in self._starts:
            if tenant.desired is Desired.RUNNING:
                self._starts.join(slug, tenant.account_id, urgent=urgent)
                return
            self._starts.leave(slug)
        # Of one that sleeps and is called nothing runs, so the first look at it may as well be the one that starts it.
        first = self._starts if urgent and tenant.status is Status.ASLEEP and slug not in self._work else self._work
        first.join(slug, tenant.account_id, urgent=urgent)
        self.dispatch()

    def waits(self, slug: str) -> bool:
        """True while it is neither worked on nor at rest."""
        return slug in self._work or slug in self._starts

    def forget(self, slug: str) -> None:
        """It is gone for good."""
        for queue in (self._work, self._starts, self._verifying):
            queue.leave(slug)

    def position(self, slug: str) -> tuple[int, float] | None:
        """Its place in the queue of starts, 0 while it is worked on, and how long until it is up, guessed, in seconds."""
        track = self._tracks.get(slug)
        place = self._starts.position(slug)
        if place is None and slug in self._work:
            place = self._starts.waiting + 1
        if place is None and track is not None and track.task is not None:
            place = 0
        if place is None:
            return None
        return place, round(median(self._took_s) * (1.0 + place / self._starts.places), 3)

    def status(self) -> dict[str, dict[str, int]]:
        """Each queue in numbers."""
        named = {"work": self._work, "starts": self._starts, "verifications": self._verifying}
        return {
            name: {"places": queue.places, "held": queue.held, "waiting": queue.waiting}
            for name, queue in named.items()
        }

    # --- turns ----------------------------------------------------------------------------------------------------------

    def hold_back(self) -> None:
        """Begin nothing more; what is being worked on is finished."""
        self._held_back = True

    def go_on(self) -> None:
        """Undo `hold_back`."""
        self._held_back = False
        self.dispatch()

    def dispatch(self) -> None:
        """Begin what it is the turn of."""
        if self._held_back:
            return
        for queue in (self._starts, self._work):
            for slug in queue.take():
                track = self._tracks.setdefault(slug, Track())
                track.task = asyncio.create_task(self._piece(slug, track, queue), name=f"reconcile {slug}")
        for slug in self._verifying.take():
            track = self._tracks.setdefault(slug, Track())
            track.verifying = asyncio.create_task(self._verify(slug, track), name=f"verify {slug}")

    def tasks(self) -> list[asyncio.Task[None]]:
        """All that run."""
        return [task for each in self._tracks.values() for task in (each.task, each.verifying) if task is not None]

    # --- work -----------------------------------------------------------------------------------------------------------

    async def _piece(self, slug: str, track: Track, queue: FairQueue) -> None:
        """One piece of work on one tenant, then back into the queue that it has to wait in next, if any."""
        log_lines.tenant.set(slug)  # of this task alone
        begun, following = self._parts.clock.monotonic(), None
        tenant: Tenant | None = None
        try:
            track.asked = False
            tenant = await self._parts.store.tenant(slug)
            if tenant is None:
                return
            asked_to_verify = slug in self.verify_requests
            starting = queue is self._starts
            outcome = await self._rounds.bring_about(tenant, track, asked_to_verify, may_start=starting)
            if outcome.started:
                took = self._parts.clock.monotonic() - begun
                self._took_s.append(took)
            self._want_verified(tenant, track, outcome.background)
            following = {Then.AGAIN: self._work, Then.START: self._starts}.get(outcome.then)
            tenant = outcome.tenant
            if track.asked:
                following, tenant = self._work, await self._parts.store.tenant(slug)
        except Exception as error:  # recorded in the back-off; the next look starts afresh
            log.error("tenant %s: %s", slug, error, exc_info=not isinstance(error, EXPECTED))
            track.failed(str(error), self._parts.clock.monotonic(), self._rounds.chance)
            following = self._work if track.asked else None  # who asked meanwhile does not wait for the back-off
        finally:
            track.task = None
            queue.leave(slug)
            if following is not None and tenant is not None:
                following.join(slug, tenant.account_id, urgent=self._rounds.is_waited_for(tenant))
            self.dispatch()

    def _want_verified(self, tenant: Tenant, track: Track, background: tuple[act.Action, ...]) -> None:
        now = self._parts.clock.monotonic()
        if tenant.slug in self.verify_requests and not background:
            track.verify_at = now + NOTHING_TO_VERIFY_S
        for action in background:
            if track.verification is None and now >= track.verify_at:
                track.verification = action
                self._verifying.join(tenant.slug, tenant.account_id, urgent=tenant.slug in self.verify_requests)

    async def _verify(self, slug: str, track: Track) -> None:
        log_lines.tenant.set(slug)
        try:
            if track.verification is not None:
                await self._rounds.verify(slug, track.verification, track)
        finally:
            track.verifying = track.verification = None
            self._verifying.leave(slug)
            self.dispatch()
