"""What a tenant is told to do: sleep, wake, suspend, resume, restart, go for ever."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import Connection

from control_plane.api.auth import Caller, TenantWriter
from control_plane.api.bodies import Suspension
from control_plane.api.own_tenant import carry_out
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import make_router
from control_plane.domain.state import rfc3339
from control_plane.domain.tenants import Desired, Tenant
from control_plane.errors import CloudError
from control_plane.store import epochs, suspensions, tenants

router = make_router("tenants")


@router.post("/api/tenants/{slug}/sleep", status_code=202)
async def sleep(slug: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Put it to sleep now: stopped after its backup is confirmed. A call wakes it."""
    return await carry_out(
        plane, slug, caller, lambda connection, tenant: _want(connection, tenant, Desired.ASLEEP, caller)
    )


@router.post("/api/tenants/{slug}/wake", status_code=202)
async def wake(slug: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Wake it."""
    return await carry_out(
        plane, slug, caller, lambda connection, tenant: _want(connection, tenant, Desired.RUNNING, caller)
    )


@router.post("/api/tenants/{slug}/suspend", status_code=202)
async def suspend(
    slug: str, caller: TenantWriter, plane: CurrentPlane, body: Suspension | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Stop it until the operator resumes it; its callers get 403 with the reason. With `after_s` it is announced first;
    `dry_run` says what would stop."""
    if not caller.is_operator:
        raise CloudError("forbidden", "only the operator suspends a tenant; `sleep` stops it until the next call")
    reason, after_s = (body.reason, body.after_s) if body else ("", 0)
    if dry_run:
        return await plane.database.read(lambda connection: _would_stop(connection, slug, reason))

    def step(connection: Connection, tenant: Tenant) -> None:
        if tenant.desired is Desired.DELETED:
            raise CloudError("conflict", f"tenant `{slug}` is being deleted")
        if after_s and tenant.desired is not Desired.SUSPENDED:
            suspensions.announce(connection, tenant, time.time() + after_s, actor=caller.actor, reason=reason)
        else:
            suspensions.suspend(connection, tenant, actor=caller.actor, reason=reason)

    return await carry_out(plane, slug, caller, step)


@router.post("/api/tenants/{slug}/resume", status_code=202)
async def resume(slug: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """End or take back a suspension (operator), or take back a deletion within its grace."""

    def step(connection: Connection, tenant: Tenant) -> None:
        suspended = tenant.desired is Desired.SUSPENDED or tenant.suspend_after is not None
        if suspended and not caller.is_operator:
            raise CloudError("forbidden", "only the operator ends a suspension")
        suspensions.take_back(connection, tenant, actor=caller.actor)
        if tenant.purge_began_at is not None:
            raise CloudError("conflict", f"the data of tenant `{slug}` is being removed; it cannot be taken back")
        if tenant.desired is Desired.DELETED:
            tenants.change(
                connection,
                tenant,
                {"delete_after": None},
                actor=caller.actor,
                action="tenant.restore_deleted",
                message="deletion taken back",
            )
        tenants.desire(connection, tenant, Desired.RUNNING, actor=caller.actor)

    return await carry_out(plane, slug, caller, step)


@router.post("/api/tenants/{slug}/restart", status_code=202)
async def restart(slug: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Stop the instance after its running calls and start it again."""

    def step(connection: Connection, tenant: Tenant) -> None:
        _refuse_stopped(tenant)
        values = {"restart_requested_at": time.time()}
        tenants.change(
            connection, tenant, values, actor=caller.actor, action="tenant.restart", message="asked to restart"
        )

    return await carry_out(plane, slug, caller, step)


@router.delete("/api/tenants/{slug}", status_code=202)
async def delete_tenant(
    slug: str,
    caller: TenantWriter,
    plane: CurrentPlane,
    dry_run: bool = False,
    grace_s: Annotated[int | None, Query(ge=0, le=31_536_000, description="operator only")] = None,
    force: Annotated[bool, Query(description="at once, and although its last backup is not verified")] = False,
) -> dict[str, Any]:
    """Delete it after its plan's grace, once its last backup is verified; `dry_run` lists what would go."""
    if not caller.is_operator and (grace_s is not None or force):
        given = "force" if force else "grace_s"
        raise CloudError("forbidden", "only the operator sets another grace, or deletes by force", param=given)
    if dry_run:
        return await plane.database.read(lambda connection: _would_go(connection, plane, slug, caller, grace_s))

    def step(connection: Connection, tenant: Tenant) -> None:
        if tenant.desired is Desired.DELETED and grace_s is None and not force:
            return
        grace, now = _grace(plane, tenant, 0 if force else grace_s), time.time()
        values: dict[str, Any] = {"desired": Desired.DELETED, "delete_after": now + grace}
        if tenant.restore is None or not tenant.restore.imported:  # an import that is not whole yet stays known as one
            values["restore"] = None
        if force:
            values["purge_began_at"] = now
        tenants.change(
            connection,
            tenant,
            values,
            actor=caller.actor,
            action="tenant.delete",
            message="asked to delete by force" if force else f"asked to delete after {grace} s",
            detail={"force": True} if force else {"grace_s": grace},
        )

    return await carry_out(plane, slug, caller, step)


def _want(connection: Connection, tenant: Tenant, wanted: Desired, caller: Caller) -> None:
    _refuse_stopped(tenant)
    tenants.desire(connection, tenant, wanted, actor=caller.actor)


def _refuse_stopped(tenant: Tenant) -> None:
    if tenant.desired is Desired.SUSPENDED:
        why = f": {tenant.reason}" if tenant.reason else ""
        raise CloudError("conflict", f"tenant `{tenant.slug}` is suspended{why}; the operator must resume it first")
    if tenant.desired is Desired.DELETED:
        raise CloudError("conflict", f"tenant `{tenant.slug}` is being deleted; `resume` takes that back")


def _would_stop(connection: Connection, slug: str, reason: str) -> dict[str, Any]:
    tenant = tenants.get(connection, slug, account=None)
    now = time.time()
    return {
        "dry_run": True,
        "id": slug,
        "would_suspend": {
            "status": tenant.status,
            "last_request_at": rfc3339(tenant.last_request_at),
            "scheduled_next_at": rfc3339(tenant.scheduled_next_at),
            "keys_refused": sum(key.valid_at(now) for key in tenant.keys),
            "callers_are_told": f"403 tenant_suspended{': ' + reason if reason else ''}",
        },
    }


def _grace(plane: Plane, tenant: Tenant, given_s: int | None) -> int:
    return plane.config.plan(tenant.plan).delete_grace_s if given_s is None else given_s


def _would_go(connection: Connection, plane: Plane, slug: str, caller: Caller, grace_s: int | None) -> dict[str, Any]:
    tenant = tenants.get(connection, slug, account=caller.account)
    kept = epochs.of(connection, slug)
    return {
        "dry_run": True,
        "id": slug,
        "grace_s": _grace(plane, tenant, grace_s),
        "would_delete": {
            "data": True,
            "routes": True,
            "keys": len(tenant.keys),
            "backup_epochs": [epoch.n for epoch in kept],
            "backup_bytes": sum(epoch.bytes for epoch in kept),
        },
    }
