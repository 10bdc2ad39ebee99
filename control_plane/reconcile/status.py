"""What a person is told of a tenant: its status as observed, and what happens next, in plain words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.domain.tenants import Desired, Status, Tenant
from control_plane.reconcile.actions import Action
from control_plane.reconcile.deletion import held
from control_plane.reconcile.depth import Depth
from control_plane.reconcile.plan import Decision
from control_plane.reconcile.restore_plan import BACKUP_UNREADABLE, held_back
from control_plane.reconcile.seen import Seen
from control_plane.runtimes.protocol import RunState

WORDS_AT_MOST = 4
CHARACTERS_AT_MOST = 200  # as many as the tenant's row holds


def status_of(tenant: Tenant, seen: Seen, depth: Depth) -> Status:
    """The status that the observations prove; on the way from one to another, the one it comes from."""
    if depth is Depth.DOWN:
        if seen.alive or seen.linked is not None:
            return tenant.status  # a stop that was not observed is not believed
        return Status.DELETED if tenant.desired is Desired.DELETED else Status.SUSPENDED
    state = seen.instance.state if seen.instance is not None else None
    if state is RunState.RUNNING and seen.linked is True:
        return Status.RUNNING
    if state is RunState.PAUSED and seen.linked is None and depth is not Depth.AWAKE:
        return Status.NAPPING
    if tenant.failure == BACKUP_UNREADABLE or (tenant.failure and depth is Depth.AWAKE):
        return Status.FAILED
    if not seen.alive and depth is not Depth.AWAKE and (tenant.epoch or tenant.desired is Desired.ASLEEP):
        return Status.ASLEEP
    if tenant.status in (Status.ASLEEP, Status.NAPPING):
        return tenant.status
    if seen.alive and depth is not Depth.AWAKE and tenant.status is Status.RUNNING:
        return tenant.status
    return Status.PROVISIONING


def next_action(tenant: Tenant, seen: Seen, decision: Decision, trouble: str) -> str:
    """What happens next and, if something is in the way, what."""
    if decision.actions:
        return words_for(decision.actions, trouble)
    if held_back(tenant) and not seen.alive:
        return (
            "waits for the operator: its backup cannot be read; wake it to try again, or restore another epoch or time"
        )
    if not seen.backups_up and decision.depth is not Depth.AWAKE and seen.alive:
        return "waits until its backup can be confirmed, then goes to sleep"
    return _rest(tenant, seen, decision.depth)


def words_for(actions: Sequence[Action], trouble: str) -> str:
    """A list of actions in words, and what stood in its way the last time."""
    words = [each.words for each in actions[:WORDS_AT_MOST]]
    rest = ", then more" if len(actions) > WORDS_AT_MOST else ""
    told = ", then ".join(words) + rest + (f" (again, after: {trouble})" if trouble else "")
    return told if len(told) <= CHARACTERS_AT_MOST else told[: CHARACTERS_AT_MOST - 1] + "…"


def _rest(tenant: Tenant, seen: Seen, depth: Depth) -> str:
    if tenant.desired is Desired.DELETED:
        if held(tenant, seen):
            return "is not removed: its last backup did not verify; verified again later, or delete it by force"
        return "is removed for good when its grace is over"
    if depth is Depth.DOWN:
        return "stays stopped until it is resumed"
    if not seen.alive:
        return "wakes at the next call" if depth is not Depth.AWAKE else "waits until its backups can be reached"
    if seen.instance is not None and seen.instance.state is RunState.PAUSED:
        return f"wakes at the next call; sleeps after {tenant.sleep_after_s} s without one"
    if seen.probe is not None and not seen.probe.ready:
        return "waits until it is ready"
    attached = "" if seen.backups_up else "; its backup is attached as soon as Litestream answers"
    return f"naps after {tenant.nap_after_s} s without a call{attached}"
