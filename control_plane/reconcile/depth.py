"""How deeply a tenant may sleep now: from what is wanted of it and when it was last used."""

from __future__ import annotations

from enum import IntEnum

from control_plane.domain.tenants import Desired, Tenant
from control_plane.reconcile.seen import Policy, Seen


class Depth(IntEnum):
    AWAKE = 0
    NAP = 1
    SLEEP = 2  # stopped, its replica confirmed
    DOWN = 3  # stopped because it must not run


def last_used(tenant: Tenant, seen: Seen, now: float) -> float:
    """When a call or a wake last asked for it; a time in the future (the clock was set back) counts as now.

    The instance's own count of idle seconds comes from a monotonic clock, so a clock set forward puts nobody to sleep
    who was just used.
    """
    times = [tenant.created_at, tenant.wake_requested_at or 0.0, tenant.last_request_at or 0.0]
    if seen.activity is not None:
        times.append(now - seen.activity.idle_s)
    return min(max(times), now)


def scheduled_next(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> float | None:
    """When its instance has something to do: as it says now, else as it said last.

    What it did not do although it was awake and idle for long is given up: it would be kept awake for ever.
    """
    if seen.activity is None:
        return tenant.scheduled_next_at
    at, idle_s = seen.activity.scheduled_next_at, seen.activity.idle_s
    if at is not None and min(now - at, idle_s) >= policy.schedule_patience_s:
        return None
    return at


def is_due(at: float | None, now: float, policy: Policy) -> bool:
    """True when an instance with something to do at that time has to be awake now."""
    return at is not None and at - now < policy.schedule_margin_s


def wanted_depth(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> Depth:
    """The depth to be brought about, whatever it is now."""
    if tenant.desired in (Desired.SUSPENDED, Desired.DELETED):
        return Depth.DOWN
    if tenant.restore is not None and seen.volume.restored_for == tenant.restore.requested_at:
        return Depth.AWAKE  # to be judged
    if is_due(scheduled_next(tenant, seen, now, policy), now, policy):
        return Depth.AWAKE
    if tenant.desired is Desired.ASLEEP:
        return Depth.SLEEP
    if seen.activity is not None and seen.activity.in_flight > 0:
        return Depth.AWAKE
    idle = now - last_used(tenant, seen, now)
    if idle < min(tenant.nap_after_s, tenant.sleep_after_s):
        return Depth.AWAKE
    if tenant.epoch == 0 or (seen.alive and seen.probe is not None and seen.activity is None):
        return Depth.AWAKE  # never provisioned; or not known to be idle
    return Depth.SLEEP if idle >= tenant.sleep_after_s else Depth.NAP
