"""What to do next about one tenant: from what is wanted and what was seen to a list of actions. Pure and total.

Level-triggered: nothing is remembered between two calls, each decides from the whole picture. The lists are short and
end where something must be observed before more can be justified; the next call goes on from there. So a crash
between any two actions, or a change made by anybody else, only changes the picture that the next call decides from.
"""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.tenants import Desired, Tenant
from control_plane.reconcile.actions import (
    Action,
    AwaitAnswer,
    BeginLife,
    BeginRestoredLife,
    CollectUsage,
    Confirm,
    Drain,
    Freeze,
    JudgeRestore,
    Link,
    PushState,
    PutBack,
    Register,
    Remove,
    StageRestore,
    Start,
    Stop,
    Thaw,
    Tidy,
    Undrain,
    Unlink,
    Unregister,
)
from control_plane.reconcile.backup_schedule import confirm_due, verification
from control_plane.reconcile.deletion import ended
from control_plane.reconcile.depth import Depth, wanted_depth
from control_plane.reconcile.restore_plan import candidates, held_back, restore_request
from control_plane.reconcile.seen import Policy, Seen
from control_plane.reconcile.stopping import last_confirm, stop, unrouted


@dataclass(frozen=True, slots=True)
class Decision:
    """`actions` in order; `background` beside them, whatever becomes of them."""

    depth: Depth
    actions: tuple[Action, ...] = ()
    background: tuple[Action, ...] = ()


def plan(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> list[Action]:
    """The actions that bring this tenant closer to what is wanted of it; none when it is as it should be."""
    return list(decide(tenant, seen, now, policy).actions)


def decide(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> Decision:
    """`plan`, with the depth it goes for and what may be done beside it."""
    depth = wanted_depth(tenant, seen, now, policy)
    actions = _fence(tenant, seen) or restore_request(tenant, seen, depth)
    if actions is None:
        match depth:
            case Depth.AWAKE:
                actions = _awake(tenant, seen, now, policy)
            case Depth.NAP:
                actions = _nap(tenant, seen, policy)
            case _:
                actions = _down(tenant, seen, depth, now, policy)
    return Decision(depth, tuple(actions), tuple(verification(tenant, seen, now, policy)))


# --- what must not be ------------------------------------------------------------------------------------------------


def _fence(tenant: Tenant, seen: Seen) -> list[Action] | None:
    """End an instance that must not write: of another epoch, or on a volume that is not what it was started on."""
    if not seen.alive or seen.instance is None:
        return None
    why = ""
    if seen.instance.epoch != tenant.epoch:
        why = f"it runs under epoch {seen.instance.epoch}, the tenant is at {tenant.epoch}"
    elif seen.probe is not None and seen.probe.epoch != tenant.epoch:
        why = f"it says that its database is of epoch {seen.probe.epoch}, the tenant is at {tenant.epoch}"
    elif seen.volume.epoch != tenant.epoch:
        why = "its data folder was removed or exchanged"
    elif not seen.volume.database and seen.probe is not None and seen.probe.ready:
        why = "its database was removed"
    elif seen.volume.rejected:
        why = "the restored database did not verify"
    if not why:
        return None
    return [*unrouted(seen), Stop(why)]


# --- at rest ---------------------------------------------------------------------------------------------------------


def _down(tenant: Tenant, seen: Seen, depth: Depth, now: float, policy: Policy) -> list[Action]:
    """Stopped; for SLEEP only after the replica was confirmed."""
    if not seen.alive:
        steps = _at_rest(tenant, seen, confirm_required=depth is Depth.SLEEP)
        if not steps and tenant.desired is Desired.DELETED:
            return ended(tenant, seen, now, policy)
        return steps
    asked = depth is Depth.DOWN or tenant.desired is Desired.ASLEEP
    if depth is Depth.SLEEP and not seen.backups_up:
        return _nap(tenant, seen, policy)  # as deep as it may go without a confirmed replica
    if not seen.answers and not seen.paused:
        return unrouted(seen) or _impatient(seen, policy)
    why = {Depth.SLEEP: "it is idle"}.get(depth, f"the tenant is {tenant.desired}")
    return stop(tenant, seen, why, forced=asked, confirm_required=depth is Depth.SLEEP)


def _at_rest(tenant: Tenant, seen: Seen, *, confirm_required: bool) -> list[Action]:
    """What an ended instance may have left: a link, a registration with a tail to sync, its container."""
    steps = unrouted(seen)
    if seen.registered is not None:
        steps += [*last_confirm(tenant, seen, required=confirm_required), Unregister()]
    if seen.instance is not None:
        steps.append(Remove())
    return steps


def _nap(tenant: Tenant, seen: Seen, policy: Policy) -> list[Action]:
    """Frozen in memory, unrouted, drained. One that is stopped already is deeper than a nap, and fine."""
    if not seen.alive:
        return _at_rest(tenant, seen, confirm_required=True)
    if seen.paused:
        if seen.linked is not None:
            return [Unlink()]
        if tenant.applied != tenant.generation:
            return [Thaw(), AwaitAnswer(), PushState(), Drain(forced=False), Freeze()]
        return []
    if not seen.answers:
        return _impatient(seen, policy)
    return [*unrouted(seen), Drain(forced=False), CollectUsage(required=False), Freeze()]


# --- awake -----------------------------------------------------------------------------------------------------------


def _awake(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> list[Action]:
    if not seen.alive:
        return _raise(tenant, seen)
    if seen.paused:
        return [*unrouted(seen), Thaw(), AwaitAnswer()]
    if seen.instance is not None and seen.instance.revision != seen.revision:
        return stop(tenant, seen, "what it is started from has changed", forced=True, confirm_required=False)
    if not seen.answers:
        return _impatient(seen, policy)
    return _serve(tenant, seen, now, policy)


def _raise(tenant: Tenant, seen: Seen) -> list[Action]:
    """Bring up one that does not run: from its volume if that is the tenant's present one, else from its backups."""
    volume, steps = seen.volume, unrouted(seen)
    present = volume.database and volume.epoch == tenant.epoch and not seen.is_closed(tenant.epoch)
    if present and not volume.rejected:
        return [*steps, Start(tenant.epoch, fresh=False), AwaitAnswer()]
    if not seen.backups_up or held_back(tenant):
        return steps  # nothing may change on the volume while it might still be copied to a replica
    if seen.registered is not None:
        return [*steps, Unregister()]
    if volume.rejected:
        current = seen.epoch(tenant.epoch)
        return [*steps, PutBack(volume.aside or (current.parent if current is not None else None))]
    if volume.database:
        known = volume.epoch if volume.epoch and seen.epoch(volume.epoch) is not None else tenant.epoch
        return [*steps, BeginLife(known or None)]
    if volume.staged == 0.0:
        return [*steps, BeginRestoredLife(volume.staged_epoch)]
    if volume.aside is not None:
        return [*steps, PutBack(volume.aside or tenant.epoch or None)]  # which was interrupted
    confirmed = any(each.confirmed_txid is not None and each.expired_at is None for each in seen.epochs)
    if tenant.epoch == 0:
        return [*steps, BeginLife(None)]
    if volume.epoch == tenant.epoch and not volume.replicated and not confirmed and not seen.is_closed(tenant.epoch):
        return [*steps, Start(tenant.epoch, fresh=True), AwaitAnswer()]
    return [*steps, StageRestore(0.0, candidates(seen.epochs, None))]


def _serve(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> list[Action]:
    """An instance that answers: attached to its backup, given its state, and only then routed to."""
    steps: list[Action] = [Unlink()] if seen.linked is False else []
    attached = seen.registered == tenant.epoch
    if seen.backups_up and not attached:
        if seen.registered is not None:
            steps.append(Unregister())
        steps.append(Register(tenant.epoch))
        attached = True
    probe = seen.probe
    assert probe is not None
    if probe.generation != tenant.generation:
        steps.append(PushState())
    if tenant.restore is not None and seen.volume.restored_for == tenant.restore.requested_at:
        return [*steps, JudgeRestore(tenant.restore.requested_at)]
    if probe.draining:
        steps.append(Undrain())
    if seen.linked is not True:
        if not probe.draining:
            steps.append(CollectUsage())  # a new life's first reading is its base, so it is read before its first call
        steps.append(Link())
    if attached and seen.backups_up and confirm_due(tenant, seen, now, policy):
        steps.append(Confirm(tenant.epoch, required=False))
    if tenant.restore is None and (seen.volume.staged is not None or seen.volume.aside is not None):
        steps += [Tidy(staged=True)] if seen.volume.staged is not None else [Tidy(staged=False)]
    return steps


def _impatient(seen: Seen, policy: Policy) -> list[Action]:
    """An instance that does not answer: wait, and after its time is up end it, to be started again."""
    if seen.linked is False:
        return [Unlink()]
    limit = policy.patience_s(seen.failures) if seen.linked is None else policy.unanswered_s
    if seen.unready_s >= limit:
        return [*unrouted(seen), Stop(f"it was not ready for {limit:.0f} s", failed=True)]
    return [AwaitAnswer()] if seen.linked is None else []
