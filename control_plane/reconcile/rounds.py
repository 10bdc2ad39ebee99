"""Working on one tenant: rounds of look, decide, act, until a look finds nothing left to do."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace

from control_plane.domain.tenants import Desired, Status, Tenant
from control_plane.reconcile import actions as act
from control_plane.reconcile.depth import Depth, last_used
from control_plane.reconcile.look import Machine, look_at_tenant
from control_plane.reconcile.perform import Course, GivenUp, Parts, Performer, Refused
from control_plane.reconcile.plan import Decision, decide
from control_plane.reconcile.ports import Unavailable
from control_plane.reconcile.seen import Policy, Seen
from control_plane.reconcile.status import next_action, status_of, words_for
from control_plane.reconcile.track import Track
from control_plane.runtimes.protocol import EngineError, RunState

log = logging.getLogger(__name__)

ROUNDS_AT_MOST = 24  # of one piece of work; the next pass goes on
LOOK_MOST_S = 15.0  # between two looks at a settled tenant that is awake
REST_LOOK_S = 120.0  # at one that is not
SAVE_ACTIVITY_S = 5.0  # the recorded time of the last call lags by at most this much
DOES_NOT_START = "instance_does_not_start"
FAILED_AFTER = 4  # failures in a row until a tenant that should be awake is called failed
VERIFY_RETRY_S = 3_600.0
VERIFYING_AT_ONCE = 1
# After these the tenant's record is as it was, so that a wake need not read it again.
LEAVES_RECORD = (act.Thaw, act.AwaitAnswer, act.Undrain, act.Link, act.Unlink, act.Drain, act.Freeze, act.Start)
EXPECTED = (Refused, Unavailable, EngineError, OSError)


class Rounds:
    """One tenant at a time; the loop runs many of these side by side."""

    def __init__(self, parts: Parts, policy: Policy, chance: random.Random) -> None:
        self._parts = parts
        self._policy = policy
        self._performer = Performer(parts, policy)
        self._verifying = asyncio.Semaphore(VERIFYING_AT_ONCE)
        self.chance = chance

    def picture(self, tenant: Tenant, machine: Machine) -> object:
        """Everything cheap to see whose change is a reason to look closely."""
        wanted = (
            tenant.generation,
            tenant.desired,
            tenant.epoch,
            tenant.image,
            tenant.plan,
            tenant.nap_after_s,
            tenant.sleep_after_s,
            tenant.restore,
            tenant.restart_requested_at,
            tenant.wake_requested_at,
            tenant.delete_after,
            tenant.failure,
        )
        return wanted, machine.of(tenant.slug)

    def is_waking(self, tenant: Tenant) -> bool:
        """A caller may be waiting: such work does not queue behind stops and restores of others."""
        return tenant.desired is Desired.RUNNING and tenant.status is not Status.RUNNING and not tenant.failure

    async def bring_about(self, tenant: Tenant, track: Track, verify_requested: bool) -> tuple[act.Action, ...]:
        """Rounds until nothing is left to do or something failed; what may be done in the background."""
        for _ in range(ROUNDS_AT_MOST):
            seen = await self._look(tenant, track, verify_requested)
            decision = decide(tenant, seen, self._parts.clock.now(), self._policy)
            if not decision.actions:
                await self._settle(tenant, seen, decision, track)
                return decision.background
            if status_of(tenant, seen, decision.depth) is not tenant.status:
                tenant = await self._save(tenant, seen, decision, track)
            course = Course(tenant, lambda: track.asked)
            went_well = await self._act(course, seen, decision, track)
            if not went_well:
                return ()
            if track.asked or not all(isinstance(each, LEAVES_RECORD) for each in decision.actions):
                fresh = await self._parts.store.tenant(tenant.slug)
                if fresh is None:
                    return ()
                tenant = fresh
        return ()

    async def verify(self, slug: str, action: act.Action, track: Track) -> None:
        """A verification in the background, few at a time."""
        try:
            async with self._verifying:
                tenant = await self._parts.store.tenant(slug)
                if tenant is not None:
                    await self._performer.carry_out(action, Course(tenant, lambda: False))
        except EXPECTED as error:
            track.verify_at = self._parts.clock.monotonic() + VERIFY_RETRY_S
            log.error("tenant %s: %s", slug, error)
            await self._parts.store.event(slug, "backup.unverified", str(error))
        finally:
            track.verifying = None

    # --- one round ------------------------------------------------------------------------------------------------------

    async def _look(self, tenant: Tenant, track: Track, verify_requested: bool) -> Seen:
        seen = await look_at_tenant(self._parts, tenant, verify_requested=verify_requested)
        now = self._parts.clock.monotonic()
        run_id = seen.instance.run_id if seen.instance is not None else ""
        answers = seen.probe is not None and (seen.probe.ready or seen.probe.draining)
        paused = seen.instance is not None and seen.instance.state is RunState.PAUSED
        if not seen.alive or answers or paused or run_id != track.run_id:
            track.unready_since = None
        track.run_id = run_id
        if seen.alive and not answers and not paused:
            track.unready_since = now if track.unready_since is None else track.unready_since
            seen = replace(seen, unready_s=now - track.unready_since)
        return seen

    async def _act(self, course: Course, seen: Seen, decision: Decision, track: Track) -> bool:
        """Carry the list out; False when it failed and the tenant is to be left alone for a while."""
        await self._note_end(course.tenant, seen, decision, track)
        for action in decision.actions:
            if course.changed() and action is not decision.actions[0]:
                break
            try:
                await self._performer.carry_out(action, course)
            except EXPECTED as error:
                code = error.code if isinstance(error, GivenUp) else ""
                await self._failed(course, seen, decision, track, f"{action.words}: {error}", code)
                return False
        track.end_known = track.end_known or course.stopped
        if course.troubles:
            await self._failed(course, seen, decision, track, "; ".join(course.troubles), "")
        elif course.applied not in (None, course.tenant.applied):
            await self._note(course, decision, track, course.tenant.failure)
        return not course.troubles

    async def _note_end(self, tenant: Tenant, seen: Seen, decision: Decision, track: Track) -> None:
        """Say so when an instance that should be there ended by itself or was removed."""
        missed = decision.depth is Depth.AWAKE and tenant.status is Status.RUNNING
        track.end_known = track.end_known and not seen.alive
        if seen.alive or not missed or track.end_known:
            return
        track.end_known = True
        code = seen.instance.exit_code if seen.instance is not None else None
        how = "it is gone" if seen.instance is None else f"exit code {'unknown' if code is None else code}"
        await self._parts.store.event(tenant.slug, "instance.ended", f"the instance ended by itself: {how}")

    async def _failed(
        self, course: Course, seen: Seen, decision: Decision, track: Track, trouble: str, code: str
    ) -> None:
        """Back off, and say what is in the way."""
        tenant, first = course.tenant, track.trouble != trouble
        track.failed(trouble, self._parts.clock.monotonic(), self.chance)
        log.warning("tenant %s: %s", tenant.slug, trouble)
        if not code and track.failures >= FAILED_AFTER and decision.depth is Depth.AWAKE and seen.linked is not True:
            code = DOES_NOT_START
        await self._note(course, decision, track, code or tenant.failure)
        if first:
            await self._parts.store.event(tenant.slug, "trouble", trouble)

    async def _settle(self, tenant: Tenant, seen: Seen, decision: Decision, track: Track) -> None:
        """Nothing is left to do: write the status back and say when to look again."""
        track.worked()
        await self._save(tenant, seen, decision, track)
        now = self._parts.clock.monotonic()
        awake = seen.probe is not None
        if awake and now >= track.usage_at:
            track.usage_at = now + self._policy.usage_every_s
            await self._collect(tenant)
        track.look_at = now + self._next_look_s(tenant, seen, decision.depth)
        machine = Machine(
            {tenant.slug: seen.instance} if seen.instance is not None else {},
            {tenant.slug: seen.linked} if seen.linked is not None else {},
            {tenant.slug: seen.registered} if seen.registered is not None else {},
            seen.backups_up,
        )
        track.settled = self.picture(tenant, machine)

    async def _collect(self, tenant: Tenant) -> None:
        try:
            await self._performer.carry_out(act.CollectUsage(required=False), Course(tenant, lambda: False))
        except EXPECTED as error:
            log.warning("tenant %s: usage: %s", tenant.slug, error)

    def _next_look_s(self, tenant: Tenant, seen: Seen, depth: Depth) -> float:
        idle = self._parts.clock.now() - last_used(tenant, seen, self._parts.clock.now())
        nap_in = min(tenant.nap_after_s, tenant.sleep_after_s) - idle
        sleep_in = tenant.sleep_after_s - idle
        if depth is Depth.AWAKE:
            usual = min(LOOK_MOST_S, max(1.0, tenant.nap_after_s / 10))
            return min(usual, max(0.05, nap_in))
        if depth is Depth.NAP:
            return min(REST_LOOK_S, max(0.05, sleep_in))
        if tenant.delete_after is not None and tenant.desired is Desired.DELETED:
            return min(REST_LOOK_S, max(1.0, tenant.delete_after - self._parts.clock.now()))
        return REST_LOOK_S

    async def _note(self, course: Course, decision: Decision, track: Track, failure: str) -> None:
        """Write down what a list of actions led to. What was seen before it is old by now, so the status stays."""
        tenant = await self._parts.store.tenant(course.tenant.slug)
        if tenant is None:
            return
        failed = bool(failure) and decision.depth in (Depth.AWAKE, Depth.NAP, Depth.SLEEP)
        status = Status.FAILED if failed and tenant.status is not Status.RUNNING else tenant.status
        await self._parts.store.save_status(
            tenant.slug,
            tenant.generation,
            status=status,
            next_action=words_for(decision.actions, track.trouble),
            failure=failure if status is Status.FAILED else "",
            applied=course.applied,
        )

    async def _save(self, tenant: Tenant, seen: Seen, decision: Decision, track: Track) -> Tenant:
        """Write back what was just seen, if it is news; the tenant as it is then recorded."""
        status = status_of(tenant, seen, decision.depth)
        failure = tenant.failure if status is Status.FAILED else ""
        words = next_action(tenant, seen, decision, track.trouble)
        applied = seen.probe.generation if seen.probe is not None else None
        used = self._used(tenant, seen)
        same = (status, words, failure) == (tenant.status, tenant.next_action, tenant.failure)
        if same and used is None and applied in (None, tenant.applied):
            return tenant
        await self._parts.store.save_status(
            tenant.slug,
            tenant.generation,
            status=status,
            next_action=words,
            failure=failure,
            last_request_at=used,
            applied=applied,
        )
        return replace(tenant, status=status, next_action=words, failure=failure)

    def _used(self, tenant: Tenant, seen: Seen) -> float | None:
        """When its last call was, if that is news."""
        if seen.activity is None:
            return None
        at = self._parts.clock.now() if seen.activity.in_flight else seen.activity.last_request_at
        known, step = tenant.last_request_at or 0.0, min(SAVE_ACTIVITY_S, tenant.nap_after_s / 10)
        return at if at is not None and at - known > step else None
