"""When a backup is due to be confirmed or verified. Pure."""

from __future__ import annotations

from control_plane.domain.retention import present_line
from control_plane.domain.tenants import Desired, Tenant
from control_plane.reconcile.actions import Action, VerifyBackup
from control_plane.reconcile.depth import last_used
from control_plane.reconcile.seen import Policy, Seen


def confirm_due(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> bool:
    """True for an epoch that was never confirmed, and now and then while there are calls."""
    current = seen.epoch(tenant.epoch)
    if current is None or current.confirmed_txid is None or current.confirmed_at is None:
        return True
    if current.confirmed_at > now:
        return True  # the clock was set back
    used = last_used(tenant, seen, now) > current.confirmed_at
    return used and now - current.confirmed_at >= policy.confirm_every_s


def verification(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> list[Action]:
    """A backup counts only when it was restored elsewhere: on request, soon after an epoch began, then regularly.

    One that did not change since is restored again too, less often: stores lose what they keep.
    """
    confirmed = [each for each in present_line(seen.epochs) if each.confirmed_txid is not None]
    if not confirmed or not seen.backups_up or tenant.desired is Desired.DELETED:
        return []
    newest = confirmed[0]
    due = seen.verify_requested
    if newest.verified_at is None:
        due = due or now - newest.started_at >= policy.verify_first_s
    else:
        written_since = (newest.confirmed_at or 0.0) > newest.verified_at
        doubted = written_since or newest.broken_at is not None
        every_s = policy.verify_every_s if doubted else policy.verify_unchanged_every_s
        due = due or now - newest.verified_at >= every_s
    return [VerifyBackup(newest.n)] if due else []
