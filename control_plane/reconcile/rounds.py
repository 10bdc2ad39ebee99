"""Working on one tenant: rounds of look, decide, act, until a look finds nothing left to do."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import takewhile

from control_plane.domain.tenants import Desired, Epoch, Status, Tenant
from control_plane.reconcile import actions as act
from control_plane.reconcile.depth import Depth, is_due, last_used
from control_plane.reconcile.look import Machine, Share, look_at_tenant, look_from_afar
from control_plane.reconcile.perform import Course, GivenUp, Parts, Performer, Refused
from control_plane.reconcile.plan import Decision, decide
from control_plane.reconcile.ports import Unavailable
from control_plane.reconcile.records import Records
from control_plane.reconcile.seen import Policy, Seen
from control_plane.reconcile.sighting import Sighting
from control_plane.reconcile.status import next_action, status_of
from control_plane.reconcile.track import Track
from control_plane.runtimes.protocol import EngineError, RunState

log = logging.getLogger(__name__)

ROUNDS_AT_MOST = 24  # of one piece of work; the next pass goes on
LOOK_MOST_S = 15.0  # between two looks at a settled tenant that is awake
REST_LOOK_S = 120.0  # at one that is not; less by a random part, so that many are not looked at together
DOES_NOT_START = "instance_does_not_start"
FAILED_AFTER = 4  # failures in a row until a tenant that should be awake is called failed
VERIFY_RETRY_S = 3_600.0
# After these the tenant's record is as it was, so that a wake need not read it again.
LEAVES_RECORD = (act.Thaw, act.AwaitAnswer, act.Undrain, act.Link, act.Unlink, act.Drain, act.Freeze, act.Start)
LONG = (
    act.JudgeRestore,
    act.Confirm,
)  # not done in the place of a start: they take the longer the larger a database is
EXPECTED = (Refused, Unavailable, EngineError, OSError)


class Then(Enum):
    """How a piece of work ended."""

    DONE = auto()  # nothing is left to do, or it failed and is left alone for a while
    AGAIN = auto()  # there is more to do
    START = auto()  # an instance is to be started, when it is its turn


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a piece of work; `background` may be done beside whatever follows."""

    then: Then
    tenant: Tenant | None = None
    background: tuple[act.Action, ...] = ()
    started: bool = False  # an instance was, and was given what it needs to be routed to


class Rounds:
    """One tenant at a time; the loop runs many of these side by side."""

    def __init__(self, parts: Parts, policy: Policy, chance: random.Random) -> None:
        self._parts = parts
        self._policy = policy
        self._performer = Performer(parts, policy)
        self._records = Records(parts.store, parts.clock, policy)
        self.chance = chance

    def picture(self, tenant: Tenant, share: Share, now: float) -> object:
        """Everything cheap to see whose change is a reason to look closely; `share` is the tenant's of the machine."""
        return (
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
            tenant.delete_after is not None and now >= tenant.delete_after,
            is_due(tenant.scheduled_next_at, now, self._policy),
            tenant.failure,
            share,
        )

    def is_waited_for(self, tenant: Tenant) -> bool:
        """Somebody waits for what is to be done: for the tenant to be awake, or for changed keys to be in force."""
        if tenant.desired is not Desired.RUNNING or tenant.failure:
            return False
        if tenant.status is Status.RUNNING and tenant.applied != tenant.generation:
            return True
        return (tenant.wake_requested_at or 0.0) >= tenant.since

    async def bring_about(self, tenant: Tenant, track: Track, verify_requested: bool, *, may_start: bool) -> Outcome:
        """Rounds until nothing is left to do, something failed, or it is somebody else's turn.

        Without `may_start` it ends before an instance is started. With it, it does nothing but start one and do what
        follows at once, usually to route to it: so no more are between start and first answer than may start.
        """
        started = False
        for _ in range(ROUNDS_AT_MOST):
            seen = await self._look(tenant, track, verify_requested)
            decision = decide(tenant, seen, self._parts.clock.now(), self._policy)
            tenant = await self._records.keep_schedule(tenant, seen)
            if not decision.actions:
                await self._settle(tenant, seen, decision, track)
                return Outcome(Then.DONE, tenant, decision.background)
            starts = any(isinstance(each, act.Start) for each in decision.actions)
            status = status_of(tenant, seen, decision.depth)
            if status is not tenant.status:
                tenant = await self._records.save(tenant, status, seen, decision, track)
            if starts and not may_start:
                return Outcome(Then.START, tenant)
            if may_start and not starts:
                decision = _short_part(decision)
                if not (started and seen.answers and decision.actions):
                    return Outcome(Then.AGAIN, tenant, started=started)
            course = Course(tenant, lambda: track.asked)
            went_well = await self._act(course, seen, decision, track)
            if not went_well:
                return Outcome(Then.DONE, tenant)
            if started:
                return Outcome(Then.AGAIN, tenant, started=True)
            started = starts
            if track.asked or not all(isinstance(each, LEAVES_RECORD) for each in decision.actions):
                fresh = await self._parts.store.tenant(tenant.slug)
                if fresh is None:
                    return Outcome(Then.DONE)
                tenant = fresh
        track.settled = None  # it does not come to rest: the next pass goes on, not at once, which might be for ever
        return Outcome(Then.DONE, tenant)

    def rests(self, tenant: Tenant, machine: Machine, epochs: Sequence[Epoch], track: Track, verify: bool) -> bool:
        """True for one of which nothing is on the machine, nothing is to be, and all of it is written down so."""
        seen = look_from_afar(machine, epochs, verify_requested=verify)
        now = self._parts.clock.now()
        decision = decide(tenant, seen, now, self._policy)
        if decision.depth is Depth.AWAKE or decision.actions or decision.background or tenant.restore is not None:
            return False
        if tenant.desired is Desired.DELETED:
            return False  # what is left to do for it depends on its data folder
        told = (status_of(tenant, seen, decision.depth), next_action(tenant, seen, decision, ""))
        if told != (tenant.status, tenant.next_action) or tenant.failure:
            return False
        track.worked()
        track.sighting = Sighting.of(seen, now)
        self._look_again(tenant, seen, decision.depth, track)
        return True

    async def verify(self, slug: str, action: act.Action, track: Track) -> None:
        """Carry out a verification in the background; what fails is tried again later."""
        try:
            tenant = await self._parts.store.tenant(slug)
            if tenant is not None:
                await self._performer.carry_out(action, Course(tenant, lambda: False))
        except EXPECTED as error:
            track.verify_at = self._parts.clock.monotonic() + VERIFY_RETRY_S
            log.error("tenant %s: %s", slug, error)
            await self._parts.store.event(slug, "backup.unverified", str(error))

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
            seen = replace(seen, unready_s=now - track.unready_since, failures=track.failures)
        track.sighting = Sighting.of(seen, self._parts.clock.now())
        return seen

    async def _act(self, course: Course, seen: Seen, decision: Decision, track: Track) -> bool:
        """Carry the list out; False when it failed and the tenant is to be left alone for a while."""
        await self._note_end(course.tenant, seen, decision, track)
        for action in decision.actions:
            if course.changed() and action is not decision.actions[0]:
                break
            troubles = len(course.troubles)
            try:
                await self._performer.carry_out(action, course)
            except EXPECTED as error:
                code = error.code if isinstance(error, GivenUp) else ""
                await self._failed(course, seen, decision, track, f"{action.words}: {error}", code)
                return False
            if isinstance(action, act.CollectUsage) and len(course.troubles) == troubles:
                track.usage_at = self._parts.clock.monotonic() + self._policy.usage_every_s
        track.end_known = track.end_known or course.stopped
        if course.troubles:
            await self._failed(course, seen, decision, track, "; ".join(course.troubles), "")
        elif course.applied not in (None, course.tenant.applied) and not _routes(decision):
            await self._records.note(course, decision, track, course.tenant.failure)
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
        await self._records.note(course, decision, track, code or tenant.failure)
        if first:
            await self._parts.store.event(tenant.slug, "trouble", trouble)

    async def _settle(self, tenant: Tenant, seen: Seen, decision: Decision, track: Track) -> None:
        """Nothing is left to do: write the status back and say when to look again."""
        track.worked()
        await self._records.save(tenant, status_of(tenant, seen, decision.depth), seen, decision, track)
        now = self._parts.clock.monotonic()
        awake = seen.probe is not None
        if awake and now >= track.usage_at:
            track.usage_at = now + self._policy.usage_every_s  # also when it cannot be read now
            await self._collect(tenant)
        self._look_again(tenant, seen, decision.depth, track)

    def _look_again(self, tenant: Tenant, seen: Seen, depth: Depth, track: Track) -> None:
        """Remember what it looked like when nothing was left to do, and when to look again without a reason."""
        clock = self._parts.clock
        track.look_at = clock.monotonic() + self._next_look_s(tenant, seen, depth)
        share = (seen.instance, seen.linked, seen.registered, seen.backups_up)
        track.settled = self.picture(tenant, share, clock.now())

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
        rest = REST_LOOK_S * self.chance.uniform(0.8, 1.0)
        if depth is Depth.NAP:
            return min(rest, max(0.05, sleep_in))
        if tenant.delete_after is not None and tenant.desired is Desired.DELETED:
            return min(rest, max(1.0, tenant.delete_after - self._parts.clock.now()))
        return rest


def _short_part(decision: Decision) -> Decision:
    """What of its list comes before anything long; the beginning of a list may always be done alone."""
    return replace(decision, actions=tuple(takewhile(lambda each: not isinstance(each, LONG), decision.actions)))


def _routes(decision: Decision) -> bool:
    """The next look writes down all that this list leads to, and nobody waits for the state of what was not routed to."""
    return any(isinstance(each, act.Link) for each in decision.actions)
