"""For the plane's own processes: the activator asks for a wake. Operator key; not in the public document."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query

from control_plane.api.auth import Operator
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import make_router
from control_plane.domain.tenants import Desired, Status, Tenant
from control_plane.errors import CloudError
from control_plane.store import tenants

router = make_router("internal", documented=False)
ENDED = (Status.RUNNING, Status.SUSPENDED, Status.FAILED, Status.DELETED)


@router.post("/internal/tenants/{slug}/wake")
async def wake(
    slug: str,
    caller: Operator,
    plane: CurrentPlane,
    wait_s: Annotated[float, Query(ge=0, le=60)] = 0.0,
) -> dict[str, Any]:
    """Ask for the tenant to be awake; with `wait_s`, answer when it is, or cannot be, at the latest after so long.

    A suspended tenant stays suspended: its status says so. 404 for one that is unknown or deleted.
    """

    def find(connection: Any) -> Tenant:
        tenant = tenants.get(connection, slug, account=None)
        if tenant.desired is Desired.DELETED:
            raise CloudError("not_found", f"tenant `{slug}` is deleted")
        return tenant

    def ask(connection: Any) -> tuple[Tenant, bool]:
        tenant = find(connection)
        if not tenants.wake_is_news(tenant, time.time()):
            return tenant, False
        tenants.desire(connection, tenant, Desired.RUNNING, actor="activator")
        return replace(tenant, desired=Desired.RUNNING, reason=""), True

    with plane.database.changed_tenants.of(slug) as changes:
        tenant = await plane.database.read(find)
        if tenants.wake_is_news(tenant, time.time()):
            tenant, new = await plane.database.write(ask)
            if new:  # else it is on its way, and a look asked for again and again would begin its round anew each time
                plane.database.ask(slug)
        deadline = time.monotonic() + wait_s
        while not (plane.ending or _ended(tenant, plane)) and (left := deadline - time.monotonic()) > 0:
            seen = changes.count
            now = await plane.store.tenant(slug)
            if now is None:
                raise CloudError("not_found", f"tenant `{slug}` is deleted")
            tenant = now
            if not _ended(tenant, plane):
                await changes.wait(seen, left)
    status = Status.SUSPENDED if tenant.desired is Desired.SUSPENDED else tenant.status
    return {
        "slug": slug,
        "status": status,
        "desired": tenant.desired,
        "reason": tenant.reason,
        "failure": tenant.failure,
        "queue": _queue(plane, slug),
    }


def _queue(plane: Plane, slug: str) -> dict[str, float] | None:
    """How many starts come before this one, and in how many seconds it is up, guessed; null for one that does not wait."""
    place = plane.reconciler.queue_position(slug) if plane.reconciler is not None else None
    return {"position": place[0], "estimated_s": place[1]} if place is not None else None


def _ended(tenant: Tenant, plane: Plane) -> bool:
    """True when waiting longer changes nothing: it is routed to, or it will not be."""
    if tenant.desired in (Desired.SUSPENDED, Desired.DELETED):
        return True
    if tenant.status is Status.RUNNING:
        return plane.config.edge_socket(tenant.slug).exists()
    return tenant.status in ENDED
