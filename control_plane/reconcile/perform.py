"""Carries out one action for one tenant, through the ports; every effect of the reconciler is here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from control_plane.domain.state import desired_state
from control_plane.domain.tenants import Desired, Generation, Tenant
from control_plane.reconcile import actions as act
from control_plane.reconcile.ports import Backups, Clock, Drained, Edge, Instances, Store, Unavailable, Volumes
from control_plane.reconcile.previous_head import previous_head
from control_plane.reconcile.restore_plan import BACKUP_UNREADABLE
from control_plane.reconcile.restoring import Restoring
from control_plane.reconcile.seen import Policy
from control_plane.reconcile.spec import instance_spec
from control_plane.runtimes.protocol import Runtime, StopFailed

POLL_S = 0.005  # between two looks at an instance that is about to answer
SLOW_POLL_S = 0.05  # between two looks at one that is not expected so soon
POLL_SHARE = 0.1  # of the time that it took so far: who waits, waits at most so much longer for it
UNDRAIN_S = 5.0


class Refused(Exception):
    """An action that could not be carried out; the message says why to a person."""


class GivenUp(Refused):
    """Waits for the operator: `code` becomes the tenant's failure."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Parts:
    """The reconciler's ports."""

    store: Store
    runtime: Runtime
    edge: Edge
    backups: Backups
    instances: Instances
    volumes: Volumes
    clock: Clock


@dataclass(slots=True)
class Course:
    """One list of actions being carried out for one tenant, and what it learned on the way."""

    tenant: Tenant
    changed: Callable[[], bool]  # something new was asked of the tenant since the list was made
    drained: Drained | None = None
    applied: Generation | None = None
    stopped: bool = False
    troubles: list[str] = field(default_factory=list)  # of actions that were not required to succeed


class Performer:
    """One method for all actions; raises when the action could not be carried out."""

    def __init__(self, parts: Parts, policy: Policy) -> None:
        self._parts = parts
        self._policy = policy
        self._restoring = Restoring(parts.store, parts.backups, parts.volumes)

    async def carry_out(self, action: act.Action, course: Course) -> None:
        """Do it. An action that is not required notes its trouble in the course instead of raising."""
        parts, tenant = self._parts, course.tenant
        slug = tenant.slug
        match action:
            case act.Link():
                await self._link(course)
            case act.Unlink():
                await parts.edge.unlink(slug)
            case act.Start():
                await self._start(tenant, action.fresh)
            case act.AwaitAnswer():
                await self._await_answer(course)
            case act.Thaw():
                await parts.runtime.resume(slug)
            case act.Freeze():
                await self._freeze(slug)
            case act.Stop():
                await self._stop(slug, action.why)
                course.stopped = True
                course.troubles += [action.why] if action.failed else []
            case act.Remove():
                await parts.runtime.remove(slug)
            case act.PushState():
                await self._push_state(course)
            case act.Drain():
                await self._drain(course, action)
            case act.Undrain():
                await self._undrain(slug)
            case act.CollectUsage() | act.Confirm():
                await self._record(course, action)
            case act.Register():
                await parts.volumes.mark_replicated(slug)
                await parts.backups.register(slug, action.epoch)
            case act.Unregister():
                await parts.backups.unregister(slug)
            case act.VerifyBackup():
                await self._verify_backup(slug, action.epoch)
            case act.CloseEpoch():
                await parts.store.close_epoch(slug, action.epoch)
            case act.JudgeRestore():
                await self._judge(tenant, action.request)
            case act.StageRestore():
                await self._stage(tenant, action)
            case act.Purge():
                await self._purge(slug)
            case _:
                await self._restoring.carry_out(action, tenant)

    # --- the instance ---------------------------------------------------------------------------------------------------

    async def _start(self, tenant: Tenant, fresh: bool) -> None:
        store, volumes, slug = self._parts.store, self._parts.volumes, tenant.slug
        head = previous_head(await store.epochs(slug), tenant.epoch)
        secrets = await store.secrets(slug)
        path = await volumes.write_instance_file(
            slug, epoch=tenant.epoch, fresh=fresh, previous_head=head, secrets=secrets
        )
        spec = instance_spec(
            tenant,
            await store.plan(tenant.plan),
            data_dir=await volumes.data_dir(slug),
            socket_dir=await volumes.socket_dir(slug),
            instance_file=path,
        )
        await self._parts.runtime.start(spec)

    async def _await_answer(self, course: Course) -> None:
        """Returns when it answers, when its time is up or when something else is wanted; the next look tells which."""
        clock, slug = self._parts.clock, course.tenant.slug
        begun = clock.monotonic()
        observed_at = begun
        while (waited := clock.monotonic() - begun) < self._policy.start_s and not course.changed():
            probe = await self._parts.instances.probe(slug)
            if probe is not None and (probe.ready or probe.draining):
                return
            if clock.monotonic() - observed_at >= 0.2:
                observed_at = clock.monotonic()
                await self._must_live(slug)
            await clock.sleep(min(SLOW_POLL_S, max(POLL_S, POLL_SHARE * waited)))

    async def _must_live(self, slug: str) -> None:
        seen = await self._parts.runtime.observe(slug)
        if not seen:
            raise Refused("the instance disappeared while it was starting")
        if not seen[0].alive:
            code = seen[0].exit_code
            raise Refused(f"the instance ended while it was starting (exit code {'unknown' if code is None else code})")

    async def _link(self, course: Course) -> None:
        """Not with a state that changed since it was pushed: whoever changed it may have been told that it holds already.

        What is not routed to counts as having it. The next look finds it unrouted, and pushes first.
        """
        slug = course.tenant.slug
        current = await self._parts.store.tenant(slug)
        if current is not None and current.generation == (course.applied or course.tenant.generation):
            await self._parts.edge.link(slug)

    async def _freeze(self, slug: str) -> None:
        """Not while it is routed to: the activator may just have done so, believing that the control plane is down."""
        await self._parts.runtime.pause(slug)
        if slug in await self._parts.edge.linked(slug):
            await self._parts.runtime.resume(slug)
            raise Refused("it was routed to while it was being frozen")

    async def _stop(self, slug: str, why: str) -> None:
        await self._parts.runtime.stop(slug, self._policy.stop_grace_s)
        if any(each.alive for each in await self._parts.runtime.observe(slug)):
            raise StopFailed("it was asked to end and is still there")
        await self._parts.store.event(slug, "instance.stopped", why)

    async def _push_state(self, course: Course) -> None:
        """Pushes the newest state there is, which may be newer than the one the plan was made for."""
        store, slug = self._parts.store, course.tenant.slug
        tenant = await store.tenant(slug)
        if tenant is None:
            raise Refused("the tenant is gone")
        plan = await store.plan(tenant.plan)
        applied = await self._parts.instances.push_state(slug, desired_state(tenant, plan))
        if applied != tenant.generation:
            raise Refused(f"it has state {applied.incarnation}.{applied.number} and does not take this one")
        course.applied = applied
        if plan.key_lease_s:
            await self._parts.instances.renew_lease(slug, plan.key_lease_s)

    async def _drain(self, course: Course, action: act.Drain) -> None:
        try:
            suspended = course.tenant.desired is Desired.SUSPENDED
            drained = await self._parts.instances.drain(course.tenant.slug, self._policy.drain_s, suspended=suspended)
        except Unavailable as error:
            if action.required:
                raise
            course.troubles.append(f"not drained: {error}")
            return
        if not drained.drained and not action.forced:
            raise Refused(f"{drained.in_flight} calls are still running")
        if not drained.drained and action.required and not drained.in_flight:
            raise Refused("what it recorded is not in its database yet")  # a full disk; it would not be confirmed
        course.drained = drained

    async def _undrain(self, slug: str) -> None:
        clock = self._parts.clock
        await self._parts.instances.resume(slug)
        until = clock.monotonic() + UNDRAIN_S
        while clock.monotonic() < until:
            probe = await self._parts.instances.probe(slug)
            if probe is not None and probe.ready:
                return
            await clock.sleep(POLL_S)
        raise Refused("it does not say that it is ready after it was asked to go on")

    # --- records and backups --------------------------------------------------------------------------------------------

    async def _record(self, course: Course, action: act.CollectUsage | act.Confirm) -> None:
        try:
            if isinstance(action, act.CollectUsage):
                reading = await self._parts.instances.usage(course.tenant.slug)
                await self._parts.store.record_usage(course.tenant.slug, course.tenant.epoch, reading)
            else:
                await self._confirm(course, action.epoch)
        except (Unavailable, OSError) as error:
            if action.required:
                raise
            course.troubles.append(str(error))

    async def _confirm(self, course: Course, epoch: int) -> None:
        slug = course.tenant.slug
        synced = await self._parts.backups.sync_wait(slug)
        head = course.drained
        await self._parts.store.confirm(
            slug,
            epoch,
            synced.txid,
            bytes=synced.bytes,
            ledger_seq=head.ledger_seq if head is not None and head.ledger_hash else None,
            ledger_hash=head.ledger_hash if head is not None and head.ledger_hash else None,
        )

    async def _verify_backup(self, slug: str, epoch: int) -> None:
        known = next((each.confirmed_txid or 0 for each in await self._parts.store.epochs(slug) if each.n == epoch), 0)
        result = await self._parts.backups.verify(slug, epoch)
        if result.ok and 0 < result.txid < known:
            result = replace(result, ok=False, detail=f"it ends at {result.txid}, {known} was confirmed")
        head = {"ledger_seq": result.ledger_seq, "ledger_hash": result.ledger_hash}
        detail = {"epoch": epoch, "txid": result.txid, **head, "detail": result.detail}
        await self._parts.store.verified(slug, epoch, ok=result.ok, detail=detail)
        if not result.ok:
            raise Refused(f"the backup of epoch {epoch} did not verify: {result.detail}")

    async def _stage(self, tenant: Tenant, action: act.StageRestore) -> None:
        failure = await self._restoring.stage(tenant, action)
        if failure:
            raise GivenUp(BACKUP_UNREADABLE, failure)

    async def _purge(self, slug: str) -> None:
        if not await self._parts.store.begin_purge(slug):
            raise Refused("it is no longer deleted, or not for long enough")
        await self._parts.backups.destroy(slug)
        await self._parts.volumes.destroy(slug)
        await self._parts.store.purge(slug)

    async def _judge(self, tenant: Tenant, request: float) -> None:
        verified = await self._parts.instances.verify(tenant.slug)
        if not verified.ok:
            await self._parts.volumes.reject(tenant.slug)
            why = f"the restored database did not verify: {verified.detail}"
            raise GivenUp(BACKUP_UNREADABLE, why) if tenant.restore and tenant.restore.imported else Refused(why)
        await self._parts.volumes.drop_aside(tenant.slug)
        detail = {"ok": True, "epoch": tenant.epoch, "ledger_seq": verified.ledger_seq}
        await self._parts.store.restore_done(tenant.slug, request, detail)
