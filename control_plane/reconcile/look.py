"""Looking at one tenant: every observation that a decision needs, in the order that keeps it consistent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.domain.tenants import Epoch, Tenant
from control_plane.reconcile.perform import Parts
from control_plane.reconcile.ports import Activity, Probe, Unavailable
from control_plane.reconcile.seen import Seen
from control_plane.reconcile.spec import revision
from control_plane.runtimes.protocol import Observed, RunState

Share = tuple[Observed | None, bool | None, int | None, bool]


@dataclass(frozen=True, slots=True)
class Machine:
    """What is seen of all tenants at once."""

    instances: Mapping[str, Observed]
    linked: Mapping[str, bool]
    registered: Mapping[str, int]
    backups_up: bool

    def of(self, slug: str) -> Share:
        """One tenant's share of it, to be compared with an earlier one."""
        return self.instances.get(slug), self.linked.get(slug), self.registered.get(slug), self.backups_up

    def has_nothing_of(self, slug: str) -> bool:
        """True for a tenant of which nothing is there but its data."""
        return slug not in self.instances and slug not in self.linked and slug not in self.registered


async def look_at_machine(parts: Parts, slug: str | None = None) -> Machine:
    """Engine, routing table and registrations; of one tenant only where that is cheaper."""
    instances, linked, registered = await asyncio.gather(
        parts.runtime.observe(slug), parts.edge.linked(slug), _registered(parts, slug)
    )
    return Machine({each.name: each for each in instances}, linked, registered or {}, registered is not None)


async def _registered(parts: Parts, slug: str | None) -> Mapping[str, int] | None:
    try:
        return await parts.backups.registered(slug)
    except Unavailable:
        return None


async def look_at_tenant(parts: Parts, tenant: Tenant, *, verify_requested: bool) -> Seen:
    """Everything about one tenant, fresh. `unready_s` is left to the caller, who remembers.

    The instance is asked before its volume is looked at: one that says it is ready has made its database by then.
    """
    slug = tenant.slug
    machine, epochs, plan = await asyncio.gather(
        look_at_machine(parts, slug), parts.store.epochs(slug), parts.store.plan(tenant.plan)
    )
    instance, linked, registered, backups_up = machine.of(slug)
    probe, activity = None, None
    if instance is not None and instance.state in (RunState.RUNNING, RunState.STARTING):
        probe, activity = await _ask(parts, tenant, plan.key_lease_s)
    return Seen(
        instance=instance,
        linked=linked,
        probe=probe,
        activity=activity,
        volume=await parts.volumes.state(slug),
        epochs=tuple(epochs),
        registered=registered,
        backups_up=backups_up,
        revision=revision(tenant, plan),
        verify_requested=verify_requested,
    )


def look_from_afar(machine: Machine, epochs: Sequence[Epoch], *, verify_requested: bool) -> Seen:
    """What is known of a tenant of which nothing is on the machine, its data folder not looked at.

    Enough to decide by as long as it is to rest: what lies in the folder matters only to one that is to be started.
    """
    return Seen(epochs=tuple(epochs), backups_up=machine.backups_up, verify_requested=verify_requested)


async def _ask(parts: Parts, tenant: Tenant, lease_s: int) -> tuple[Probe | None, Activity | None]:
    """What it says of itself. One whose keys are the newest has their lease renewed."""
    slug = tenant.slug
    try:
        probe = await parts.instances.probe(slug)
        if probe is None or not (probe.ready or probe.draining):
            return probe, None
        if lease_s and probe.generation == tenant.generation:
            await parts.instances.renew_lease(slug, lease_s)
        return probe, await parts.instances.activity(slug)
    except Unavailable:
        return None, None
