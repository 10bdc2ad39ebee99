"""What to do next about one tenant: from what is wanted and what was seen to a list of actions. Pure and total.

Level-triggered: nothing is remembered between two calls, each decides from the whole picture. The lists are short and
end where something must be observed before more can be justified; the next call goes on from there. So a crash
between any two actions, or a change made by anybody else, only changes the picture that the next call decides from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from control_plane.domain.tenants import Desired, Epoch, RestoreRequest, Tenant
from control_plane.reconcile.actions import (
    Action,
    AwaitAnswer,
    BeginLife,
    BeginRestoredLife,
    Candidate,
    CloseEpoch,
    CollectUsage,
    Confirm,
    Drain,
    Freeze,
    JudgeRestore,
    Link,
    Purge,
    PushState,
    PutBack,
    Register,
    Remove,
    ReportRejected,
    StageRestore,
    Start,
    Stop,
    Thaw,
    Tidy,
    Undrain,
    Unlink,
    Unregister,
    VerifyBackup,
)
from control_plane.reconcile.depth import Depth, last_used, wanted_depth
from control_plane.reconcile.seen import Policy, Seen
from control_plane.runtimes.protocol import RunState

BACKUP_UNREADABLE = "backup_unreadable"


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
    actions = _fence(tenant, seen) or _restore_request(tenant, seen, depth)
    if actions is None:
        match depth:
            case Depth.AWAKE:
                actions = _awake(tenant, seen, now, policy)
            case Depth.NAP:
                actions = _nap(tenant, seen, policy)
            case _:
                actions = _down(tenant, seen, depth, now, policy)
    return Decision(depth, tuple(actions), tuple(_verification(tenant, seen, now, policy)))


def held_back(tenant: Tenant) -> bool:
    """True while an unreadable backup waits for the operator, who decides by a wake or another restore."""
    if tenant.failure != BACKUP_UNREADABLE:
        return False
    asked = [tenant.wake_requested_at or 0.0, tenant.restore.requested_at if tenant.restore else 0.0]
    return max(asked) <= tenant.since


def candidates(epochs: Sequence[Epoch], request: RestoreRequest | None) -> tuple[Candidate, ...]:
    """The epochs that a restore may read, in the order to try them.

    The newest backup is that of the present line of epochs, parent by parent: a life that was restored and given up is
    no part of it. A point in time is looked for in whichever epoch was the tenant's then.
    """
    if request is not None and request.epoch is not None:
        return tuple(Candidate(each.n, confirmed=True) for each in epochs if each.n == request.epoch)
    at = _seconds(request.at) if request is not None and request.at is not None else None
    if at is not None:
        ordered = [each for each in sorted(epochs, key=lambda each: -each.n) if each.started_at <= at]
    else:
        ordered = _line(epochs)
    return tuple(Candidate(each.n, each.confirmed_txid is not None) for each in ordered)


def _line(epochs: Sequence[Epoch]) -> list[Epoch]:
    """The newest epoch, its parent, and so on."""
    by_number = {each.n: each for each in epochs}
    line: list[Epoch] = []
    n = max(by_number, default=None)
    while n is not None and n in by_number and (not line or n < line[-1].n):
        line.append(by_number[n])
        n = by_number[n].parent
    return line


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
    return [*_unrouted(seen), Stop(why)]


def _unrouted(seen: Seen) -> list[Action]:
    return [] if seen.linked is None else [Unlink()]


# --- restoring on request --------------------------------------------------------------------------------------------


def _restore_request(tenant: Tenant, seen: Seen, depth: Depth) -> list[Action] | None:
    """The way of a restore request up to the new life's start; from there on it is like any other start."""
    request, volume = tenant.restore, seen.volume
    if request is None or depth is Depth.DOWN or held_back(tenant):
        return None
    if volume.restored_for == request.requested_at:
        return [ReportRejected(request.requested_at)] if volume.rejected else None
    if volume.rejected:
        return None  # an earlier request's: put back what was there first
    if volume.staged != request.requested_at:
        return _stage(tenant, seen, request)
    if seen.alive:
        return _stop(tenant, seen, "its restored database takes its place", forced=True, confirm_required=False)
    if not seen.backups_up:
        return _unrouted(seen)
    if seen.registered is not None:
        return [*_unrouted(seen), *_last_confirm(tenant, seen, required=False), Unregister()]
    return [*_unrouted(seen), BeginRestoredLife(volume.staged_epoch)]


def _stage(tenant: Tenant, seen: Seen, request: RestoreRequest) -> list[Action]:
    if not seen.backups_up:
        return []
    steps: list[Action] = []
    if seen.alive and seen.registered == tenant.epoch:
        steps.append(Confirm(tenant.epoch, required=False))
    read = () if request.source else candidates(seen.epochs, request)
    return [*steps, StageRestore(request.requested_at, read, request.source, request.at)]


def _seconds(at: str) -> float | None:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# --- at rest ---------------------------------------------------------------------------------------------------------


def _down(tenant: Tenant, seen: Seen, depth: Depth, now: float, policy: Policy) -> list[Action]:
    """Stopped; for SLEEP only after the replica was confirmed."""
    if not seen.alive:
        steps = _at_rest(tenant, seen, confirm_required=depth is Depth.SLEEP)
        if not steps and tenant.desired is Desired.DELETED:
            return _ended(tenant, seen, now)
        return steps
    asked = depth is Depth.DOWN or tenant.desired is Desired.ASLEEP
    if depth is Depth.SLEEP and not seen.backups_up:
        return _nap(tenant, seen, policy)  # as deep as it may go without a confirmed replica
    if not _answers(seen) and not _paused(seen):
        return _unrouted(seen) or _impatient(seen, policy)
    why = {Depth.SLEEP: "it is idle"}.get(depth, f"the tenant is {tenant.desired}")
    return _stop(tenant, seen, why, forced=asked, confirm_required=depth is Depth.SLEEP)


def _stop(tenant: Tenant, seen: Seen, why: str, *, forced: bool, confirm_required: bool) -> list[Action]:
    steps = _unrouted(seen)
    if _paused(seen):
        steps += [Thaw(), AwaitAnswer()]  # it may have been frozen by somebody who did not drain it
    if _answers(seen) or _paused(seen):
        steps += [Drain(forced, required=confirm_required), CollectUsage(required=False)]
    if seen.backups_up and seen.volume.database:
        if seen.registered not in (None, tenant.epoch):
            steps.append(Unregister())
        if seen.registered != tenant.epoch:
            steps.append(Register(tenant.epoch))
        steps.append(Confirm(tenant.epoch, required=confirm_required))
    return [*steps, Stop(why)]


def _at_rest(tenant: Tenant, seen: Seen, *, confirm_required: bool) -> list[Action]:
    """What an ended instance may have left: a link, a registration with a tail to sync, its container."""
    steps = _unrouted(seen)
    if seen.registered is not None:
        steps += [*_last_confirm(tenant, seen, required=confirm_required), Unregister()]
    if seen.instance is not None:
        steps.append(Remove())
    return steps


def _last_confirm(tenant: Tenant, seen: Seen, *, required: bool) -> list[Action]:
    own = seen.registered == tenant.epoch == seen.volume.epoch and seen.volume.database
    return [Confirm(tenant.epoch, required=required)] if own else []


def _nap(tenant: Tenant, seen: Seen, policy: Policy) -> list[Action]:
    """Frozen in memory, unrouted, drained. One that is stopped already is deeper than a nap, and fine."""
    if not seen.alive:
        return _at_rest(tenant, seen, confirm_required=True)
    if _paused(seen):
        if seen.linked is not None:
            return [Unlink()]
        if tenant.applied != tenant.generation:
            return [Thaw(), AwaitAnswer(), PushState(), Drain(forced=False), Freeze()]
        return []
    if not _answers(seen):
        return _impatient(seen, policy)
    return [*_unrouted(seen), Drain(forced=False), CollectUsage(required=False), Freeze()]


def _ended(tenant: Tenant, seen: Seen, now: float) -> list[Action]:
    """A deleted tenant at rest: a last verified backup, and after the grace nothing."""
    if tenant.delete_after is not None and now >= tenant.delete_after:
        return [Purge()]
    if tenant.epoch == 0 or _closed(tenant, seen) or not seen.backups_up:
        return []
    if not seen.volume.database or seen.volume.epoch != tenant.epoch:
        return [CloseEpoch(tenant.epoch)]
    n = tenant.epoch
    return [Register(n), Confirm(n), Unregister(), VerifyBackup(n), CloseEpoch(n)]


# --- awake -----------------------------------------------------------------------------------------------------------


def _awake(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> list[Action]:
    if not seen.alive:
        return _raise(tenant, seen)
    if _paused(seen):
        return [*_unrouted(seen), Thaw(), AwaitAnswer()]
    if seen.instance is not None and seen.instance.revision != seen.revision:
        return _stop(tenant, seen, "what it is started from has changed", forced=True, confirm_required=False)
    if not _answers(seen):
        return _impatient(seen, policy)
    return _serve(tenant, seen, now, policy)


def _raise(tenant: Tenant, seen: Seen) -> list[Action]:
    """Bring up one that does not run: from its volume if that is the tenant's present one, else from its backups."""
    volume, steps = seen.volume, _unrouted(seen)
    present = volume.database and volume.epoch == tenant.epoch and not _closed(tenant, seen)
    if present and not volume.rejected:
        return [*steps, Start(tenant.epoch, fresh=False), AwaitAnswer()]
    if not seen.backups_up or held_back(tenant):
        return steps  # nothing may change on the volume while it might still be copied to a replica
    if seen.registered is not None:
        return [*steps, Unregister()]
    if volume.rejected:
        current = _current(tenant, seen)
        return [*steps, PutBack(volume.aside or (current.parent if current is not None else None))]
    if volume.database:
        return [*steps, BeginLife(volume.epoch or tenant.epoch or None)]
    if volume.staged == 0.0:
        return [*steps, BeginRestoredLife(volume.staged_epoch)]
    if volume.aside is not None:
        return [*steps, PutBack(volume.aside or tenant.epoch or None)]  # which was interrupted
    confirmed = any(each.confirmed_txid is not None for each in seen.epochs)
    if tenant.epoch == 0:
        return [*steps, BeginLife(None)]
    if volume.epoch == tenant.epoch and not volume.replicated and not confirmed and not _closed(tenant, seen):
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
    if attached and seen.backups_up and _confirm_due(tenant, seen, now, policy):
        steps.append(Confirm(tenant.epoch, required=False))
    if tenant.restore is None and (seen.volume.staged is not None or seen.volume.aside is not None):
        steps += [Tidy(staged=True)] if seen.volume.staged is not None else [Tidy(staged=False)]
    return steps


def _impatient(seen: Seen, policy: Policy) -> list[Action]:
    """An instance that does not answer: wait, and after its time is up end it, to be started again."""
    if seen.linked is False:
        return [Unlink()]
    limit = policy.start_s if seen.linked is None else policy.unanswered_s
    if seen.unready_s >= limit:
        return [*_unrouted(seen), Stop(f"it was not ready for {limit:.0f} s", failed=True)]
    return [AwaitAnswer()] if seen.linked is None else []


# --- backups ---------------------------------------------------------------------------------------------------------


def _confirm_due(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> bool:
    current = _current(tenant, seen)
    if current is None or current.confirmed_txid is None or current.confirmed_at is None:
        return True
    if current.confirmed_at > now:
        return True  # the clock was set back
    used = last_used(tenant, seen, now) > current.confirmed_at
    return used and now - current.confirmed_at >= policy.confirm_every_s


def _verification(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> list[Action]:
    """A backup counts only when it was restored elsewhere: on request, soon after an epoch began, then regularly."""
    confirmed = [each for each in seen.epochs if each.confirmed_txid is not None]
    if not confirmed or not seen.backups_up or tenant.desired is Desired.DELETED:
        return []
    newest = max(confirmed, key=lambda each: each.n)
    due = seen.verify_requested
    if newest.verified_at is None:
        due = due or now - newest.started_at >= policy.verify_first_s
    else:
        written_since = (newest.confirmed_at or 0.0) > newest.verified_at
        due = due or (written_since and now - newest.verified_at >= policy.verify_every_s)
    return [VerifyBackup(newest.n)] if due else []


# --- readings --------------------------------------------------------------------------------------------------------


def _answers(seen: Seen) -> bool:
    return not _paused(seen) and seen.probe is not None and (seen.probe.ready or seen.probe.draining)


def _paused(seen: Seen) -> bool:
    return seen.instance is not None and seen.instance.state is RunState.PAUSED


def _current(tenant: Tenant, seen: Seen) -> Epoch | None:
    return next((each for each in seen.epochs if each.n == tenant.epoch), None)


def _closed(tenant: Tenant, seen: Seen) -> bool:
    current = _current(tenant, seen)
    return current is not None and current.closed_at is not None
