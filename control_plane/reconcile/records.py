"""Writes back what was learned of a tenant, when it is news."""

from __future__ import annotations

from dataclasses import replace

from control_plane.domain.tenants import Status, Tenant
from control_plane.reconcile.depth import Depth, scheduled_next
from control_plane.reconcile.perform import Course
from control_plane.reconcile.plan import Decision
from control_plane.reconcile.ports import Clock, Store
from control_plane.reconcile.seen import Policy, Seen
from control_plane.reconcile.status import next_action, words_for
from control_plane.reconcile.track import Track

SAVE_ACTIVITY_S = 5.0  # the recorded time of the last call lags by at most this much


class Records:
    """What the rounds write into the tenant's row."""

    def __init__(self, store: Store, clock: Clock, policy: Policy) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy

    async def keep_schedule(self, tenant: Tenant, seen: Seen) -> Tenant:
        """Before it may be put to sleep: remember when it has to be awake again."""
        at = scheduled_next(tenant, seen, self._clock.now(), self._policy)
        if at == tenant.scheduled_next_at:
            return tenant
        await self._store.save_schedule(tenant.slug, at)
        return replace(tenant, scheduled_next_at=at)

    async def note(self, course: Course, decision: Decision, track: Track, failure: str) -> None:
        """Write down what a list of actions led to. What was seen before it is old by now, so the status stays."""
        tenant = await self._store.tenant(course.tenant.slug)
        if tenant is None:
            return
        failed = bool(failure) and decision.depth in (Depth.AWAKE, Depth.NAP, Depth.SLEEP)
        status = Status.FAILED if failed and tenant.status is not Status.RUNNING else tenant.status
        await self._store.save_status(
            tenant.slug,
            tenant.generation,
            status=status,
            next_action=words_for(decision.actions, track.trouble),
            failure=failure if status is Status.FAILED else "",
            applied=course.applied,
        )

    async def save(self, tenant: Tenant, status: Status, seen: Seen, decision: Decision, track: Track) -> Tenant:
        """Write back what was just seen, if it is news; the tenant as it is then recorded."""
        failure = tenant.failure if status is Status.FAILED else ""
        words = next_action(tenant, seen, decision, track.trouble)
        applied = seen.probe.generation if seen.probe is not None else None
        used = self._used(tenant, seen)
        same = (status, words, failure) == (tenant.status, tenant.next_action, tenant.failure)
        if same and used is None and applied in (None, tenant.applied):
            return tenant
        await self._store.save_status(
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
        at = self._clock.now() if seen.activity.in_flight else seen.activity.last_request_at
        known, step = tenant.last_request_at or 0.0, min(SAVE_ACTIVITY_S, tenant.nap_after_s / 10)
        return at if at is not None and at - known > step else None
