"""The end of a deleted tenant: a last backup that was verified, the grace, and then nothing is left. Pure."""

from __future__ import annotations

from control_plane.domain.retention import present_line
from control_plane.domain.tenants import Epoch, Tenant
from control_plane.reconcile.actions import (
    Action,
    CloseEpoch,
    Confirm,
    Purge,
    Register,
    Unregister,
    VerifyBackup,
)
from control_plane.reconcile.seen import Policy, Seen


def ended(tenant: Tenant, seen: Seen, now: float, policy: Policy) -> list[Action]:
    """What is left to do for a deleted tenant of which nothing runs any more."""
    if tenant.purge_began_at is not None:
        return [Purge()]  # it cannot be taken back, only finished
    over = tenant.delete_after is not None and now >= tenant.delete_after
    steps = _last_backup(tenant, seen)
    if not steps:
        return [Purge()] if over else []
    if not seen.backups_up or _waits_after_failure(seen, now, policy):
        return []
    return steps


def held(tenant: Tenant, seen: Seen) -> bool:
    """True while its removal waits for a backup that did not verify."""
    unverified = any(each.broken_at is not None for each in seen.epochs)
    return tenant.purge_began_at is None and unverified and bool(_last_backup(tenant, seen))


def _last_backup(tenant: Tenant, seen: Seen) -> list[Action]:
    """What is missing until all that the tenant had is safe in a backup that was restored once; [] when nothing is."""
    n = tenant.epoch
    if n == 0:
        return []
    if tenant.restore is not None and tenant.restore.imported:  # never found whole here: its file is with who sent it
        return []
    if not seen.is_closed(n) and seen.volume.database and seen.volume.epoch == n:
        return [Register(n), Confirm(n), Unregister(), VerifyBackup(n), CloseEpoch(n)]
    newest = _newest_confirmed(seen)
    unproven = newest is not None and (newest.verified_at is None or newest.broken_at is not None)
    steps: list[Action] = [VerifyBackup(newest.n)] if newest is not None and unproven else []
    return steps if seen.is_closed(n) else [*steps, CloseEpoch(n)]


def _newest_confirmed(seen: Seen) -> Epoch | None:
    """The newest backup that holds anything; None for a tenant that never had anything worth one."""
    return next((each for each in present_line(seen.epochs) if each.confirmed_txid is not None), None)


def _waits_after_failure(seen: Seen, now: float, policy: Policy) -> bool:
    """A backup that did not verify is tried again now and then only: it is restored as a whole each time."""
    failed = [each.broken_at for each in seen.epochs if each.broken_at is not None]
    return bool(failed) and 0 <= now - max(failed) < policy.verify_again_s
