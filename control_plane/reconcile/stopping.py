"""Ending an instance so that nothing is lost: the steps that several ways have in common. Pure."""

from __future__ import annotations

from control_plane.domain.tenants import Tenant
from control_plane.reconcile.actions import (
    Action,
    AwaitAnswer,
    CollectUsage,
    Confirm,
    Drain,
    Register,
    Stop,
    Thaw,
    Unlink,
    Unregister,
)
from control_plane.reconcile.seen import Seen


def stop(tenant: Tenant, seen: Seen, why: str, *, forced: bool, confirm_required: bool) -> list[Action]:
    """From serving to ended: unrouted, drained, confirmed as far as it can be."""
    steps = unrouted(seen)
    if seen.paused:
        steps += [Thaw(), AwaitAnswer()]  # it may have been frozen by somebody who did not drain it
    if seen.answers or seen.paused:
        steps += [Drain(forced, required=confirm_required), CollectUsage(required=False)]
    if seen.backups_up and seen.volume.database:
        if seen.registered not in (None, tenant.epoch):
            steps.append(Unregister())
        if seen.registered != tenant.epoch:
            steps.append(Register(tenant.epoch))
        steps.append(Confirm(tenant.epoch, required=confirm_required))
    return [*steps, Stop(why)]


def last_confirm(tenant: Tenant, seen: Seen, *, required: bool) -> list[Action]:
    """Confirm what an ended instance wrote last, if it is still attached to its own epoch."""
    own = seen.registered == tenant.epoch == seen.volume.epoch and seen.volume.database
    return [Confirm(tenant.epoch, required=required)] if own else []


def unrouted(seen: Seen) -> list[Action]:
    """Take it out of routing, if it is in."""
    return [] if seen.linked is None else [Unlink()]
