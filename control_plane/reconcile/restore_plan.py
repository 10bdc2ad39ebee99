"""Restores in the plan: which backups may be read, and the way of a restore request. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from control_plane.domain.retention import present_line
from control_plane.domain.tenants import Epoch, RestoreRequest, Tenant
from control_plane.reconcile.actions import (
    Action,
    BeginRestoredLife,
    Candidate,
    Confirm,
    ReportRejected,
    StageRestore,
    Unregister,
)
from control_plane.reconcile.depth import Depth
from control_plane.reconcile.seen import Seen
from control_plane.reconcile.stopping import last_confirm, stop, unrouted

BACKUP_UNREADABLE = "backup_unreadable"


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
        return tuple(
            Candidate(each.n, confirmed=True) for each in epochs if each.n == request.epoch and not each.expired_at
        )
    at = _seconds(request.at) if request is not None and request.at is not None else None
    if at is not None:
        ordered = [each for each in sorted(epochs, key=lambda each: -each.n) if each.started_at <= at]
    else:
        ordered = present_line(epochs)
    ordered = [each for each in ordered if each.expired_at is None]
    return tuple(Candidate(each.n, each.confirmed_txid is not None, each.confirmed_txid or 0) for each in ordered)


def restore_request(tenant: Tenant, seen: Seen, depth: Depth) -> list[Action] | None:
    """The way of a restore request up to the new life's start; from there on it is like any other start."""
    request, volume = tenant.restore, seen.volume
    if request is None or depth is Depth.DOWN or held_back(tenant):
        return None
    if volume.restored_for == request.requested_at:
        if volume.rejected and request.imported:
            return _stage(tenant, seen, request)  # which gives up: there is no other
        return [ReportRejected(request.requested_at)] if volume.rejected else None
    if volume.rejected:
        return None  # an earlier request's: put back what was there first
    if volume.staged != request.requested_at:
        return _stage(tenant, seen, request)
    if seen.alive:
        return stop(tenant, seen, "its restored database takes its place", forced=True, confirm_required=False)
    if not seen.backups_up:
        return unrouted(seen)
    if seen.registered is not None:
        return [*unrouted(seen), *last_confirm(tenant, seen, required=False), Unregister()]
    return [*unrouted(seen), BeginRestoredLife(volume.staged_epoch)]


def _stage(tenant: Tenant, seen: Seen, request: RestoreRequest) -> list[Action]:
    if not seen.backups_up:
        return []
    steps: list[Action] = []
    if seen.alive and seen.registered == tenant.epoch:
        steps.append(Confirm(tenant.epoch, required=False))
    read = () if request.source or request.imported else candidates(seen.epochs, request)
    return [*steps, StageRestore(request.requested_at, read, request.source, request.at)]


def _seconds(at: str) -> float | None:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
