"""Resumes a napping instance without the control plane, from what lies on disk."""

from __future__ import annotations

from control_plane.domain.tenants import Status
from control_plane.reconcile.ports import Edge, Instances, Unavailable
from control_plane.routing.snapshot import Snapshot, Unreadable
from control_plane.runtimes.protocol import EngineError, RunState, Runtime


class NapResumer:
    """Does for one tenant what the reconciler does at the end of a nap: resume, newest keys, open, route."""

    def __init__(self, runtime: Runtime, instances: Instances, edge: Edge, snapshot: Snapshot) -> None:
        self._runtime = runtime
        self._instances = instances
        self._edge = edge
        self._snapshot = snapshot

    async def __call__(self, slug: str) -> bool:
        """True if the tenant is routed to afterwards; False if it is stopped, or cannot be brought back from here.

        Only what napped is: a nap is drained first and says so. One that runs, not drained and not routed to, is in the
        middle of something that the control plane has to finish, such as a restore that is not verified yet.
        """
        try:
            tenant = self._snapshot.tenant(slug)
        except Unreadable:
            return False
        if tenant is None or tenant.state is None or tenant.status is not Status.NAPPING:
            return False
        try:
            seen = [each for each in await self._runtime.observe(slug) if each.alive]
            if not seen:
                return False
            if seen[0].state is RunState.PAUSED:
                await self._runtime.resume(slug)
            probe = await self._instances.probe(slug)
            if probe is None or not probe.draining:
                return False
            await self._instances.push_state(slug, tenant.state)
            lease_s = (tenant.state.get("key_lease_s") or 0) - self._snapshot.age_s()
            if lease_s > 0:
                await self._instances.renew_lease(slug, lease_s)
            await self._instances.resume(slug)
            now = [each.run_id for each in await self._runtime.observe(slug) if each.alive]
            if now != [seen[0].run_id]:
                return False  # the control plane is back and started another one
            await self._edge.link(slug)
        except (Unavailable, EngineError):
            return False
        return True
