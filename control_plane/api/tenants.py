"""Tenants: create, list, read, change, put to sleep, wake, suspend, delete."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import Connection

from control_plane.api import opening
from control_plane.api.accounts import own_account
from control_plane.api.auth import Caller, TenantReader, TenantWriter
from control_plane.api.bodies import Reason, TenantChange, TenantCreate
from control_plane.api.opening import Opening
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import make_router
from control_plane.api.shapes import list_shape, tenant_shape
from control_plane.domain.tenants import Desired, RestoreRequest, Status, Tenant
from control_plane.errors import CloudError, nearest
from control_plane.store import accounts, epochs, tenants, usage

router = make_router("tenants")
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0)]
Step = Callable[[Connection, Tenant], None]


@router.get("/api/tenants")
async def list_tenants(
    caller: TenantReader,
    plane: CurrentPlane,
    status: Status | None = None,
    q: str | None = None,
    node: str | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
    cursor: Annotated[int | None, Query(ge=0)] = None,
) -> dict[str, Any]:
    """The caller's tenants, newest first; `q` is a part of the slug."""
    begin = offset if cursor is None else cursor
    if node not in (None, platform.node()):
        return list_shape("tenants", [], 0, begin)

    def read(connection: Connection) -> dict[str, Any]:
        rows, total = tenants.page(connection, account=caller.account, status=status, q=q, limit=limit, offset=begin)
        lives = epochs.of_each(connection, [row.slug for row in rows])
        shapes = [tenant_shape(row, plane.config, lives[row.slug]) for row in rows]
        return list_shape("tenants", shapes, total, begin)

    return await plane.database.read(read)


@router.post("/api/tenants", status_code=201)
async def create_tenant(body: TenantCreate, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Open a tenant; its first keys are in this answer and in no other. It goes on `provisioning`."""
    account = await _owner(plane, caller, body.account)
    plan = body.plan or account.plan
    opening.check(plane, body.slug, plan)
    if not caller.is_operator and plan != account.plan:
        raise CloudError("forbidden", f"this account has plan `{account.plan}`; ask the operator for another")
    await refuse_too_many(plane, caller, account.id)
    restore = None
    if body.from_backup is not None:
        source = body.from_backup.tenant
        await plane.database.read(lambda connection: tenants.get(connection, source, account=caller.account))
        restore = RestoreRequest(at=body.from_backup.at, source=source, requested_at=time.time())
    asked = Opening(body.slug, plan, body.region or plane.config.region, restore)
    return await open_and_show(plane, asked, account.id, caller.actor)


async def open_and_show(plane: Plane, asked: Opening, account_id: int, actor: str) -> dict[str, Any]:
    """Open the tenant and answer it with its first keys."""

    def work(connection: Connection) -> dict[str, Any]:
        first = opening.open_tenant(connection, plane, asked, account_id, actor)
        return tenant_shape(tenants.get(connection, asked.slug, account=None), plane.config) | first.shape()

    return await plane.database.write(work, asks=asked.slug)


@router.get("/api/tenants/{slug}")
async def show_tenant(slug: str, caller: TenantReader, plane: CurrentPlane) -> dict[str, Any]:
    """One tenant, whole."""
    return await plane.database.read(lambda connection: whole(connection, plane, slug, caller))


@router.put("/api/tenants/{slug}")
async def change_tenant(slug: str, body: TenantChange, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Change plan, settings, image or idle times; pushed to the instance as a new generation."""

    def change(connection: Connection, tenant: Tenant) -> None:
        values = _changes(plane, caller, tenant, body)
        if values:
            fields = sorted(name for name, value in body.model_dump().items() if value is not None)
            message = "changed " + ", ".join(fields)
            tenants.change(
                connection,
                tenant,
                values,
                actor=caller.actor,
                action="tenant.change",
                message=message,
                detail={"fields": fields},
            )

    return await _step(plane, slug, caller, change)


@router.post("/api/tenants/{slug}/sleep", status_code=202)
async def sleep(slug: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Put it to sleep now: stopped after its backup is confirmed. A call wakes it."""
    return await _step(
        plane, slug, caller, lambda connection, tenant: _want(connection, tenant, Desired.ASLEEP, caller)
    )


@router.post("/api/tenants/{slug}/wake", status_code=202)
async def wake(slug: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Wake it."""
    return await _step(
        plane, slug, caller, lambda connection, tenant: _want(connection, tenant, Desired.RUNNING, caller)
    )


@router.post("/api/tenants/{slug}/suspend", status_code=202)
async def suspend(slug: str, caller: TenantWriter, plane: CurrentPlane, body: Reason | None = None) -> dict[str, Any]:
    """Stop it until the operator resumes it; its callers get 403 with the reason."""
    if not caller.is_operator:
        raise CloudError("forbidden", "only the operator suspends a tenant; `sleep` stops it until the next call")
    reason = body.reason if body else ""

    def step(connection: Connection, tenant: Tenant) -> None:
        if tenant.desired is Desired.DELETED:
            raise CloudError("conflict", f"tenant `{slug}` is being deleted")
        tenants.desire(connection, tenant, Desired.SUSPENDED, actor=caller.actor, reason=reason)

    return await _step(plane, slug, caller, step)


@router.post("/api/tenants/{slug}/resume", status_code=202)
async def resume(slug: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """End a suspension (operator), or take back a deletion within its grace."""

    def step(connection: Connection, tenant: Tenant) -> None:
        if tenant.desired is Desired.SUSPENDED and not caller.is_operator:
            raise CloudError("forbidden", "only the operator ends a suspension")
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

    return await _step(plane, slug, caller, step)


@router.post("/api/tenants/{slug}/restart", status_code=202)
async def restart(slug: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Stop the instance after its running calls and start it again."""

    def step(connection: Connection, tenant: Tenant) -> None:
        _refuse_stopped(tenant)
        values = {"restart_requested_at": time.time()}
        tenants.change(
            connection, tenant, values, actor=caller.actor, action="tenant.restart", message="asked to restart"
        )

    return await _step(plane, slug, caller, step)


@router.delete("/api/tenants/{slug}", status_code=202)
async def delete_tenant(
    slug: str,
    caller: TenantWriter,
    plane: CurrentPlane,
    dry_run: bool = False,
    grace_s: Annotated[int | None, Query(ge=0, le=31_536_000, description="operator only")] = None,
) -> dict[str, Any]:
    """Delete it after its grace; `dry_run` lists what would go and changes nothing."""
    if grace_s is not None and not caller.is_operator:
        raise CloudError("forbidden", "only the operator sets another grace", param="grace_s")
    grace = plane.config.delete_grace_s if grace_s is None else grace_s
    if dry_run:
        return await plane.database.read(lambda connection: _would_go(connection, slug, caller, grace))

    def step(connection: Connection, tenant: Tenant) -> None:
        if tenant.desired is Desired.DELETED and grace_s is None:
            return
        tenants.change(
            connection,
            tenant,
            {"desired": Desired.DELETED, "delete_after": time.time() + grace, "restore": None},
            actor=caller.actor,
            action="tenant.delete",
            message=f"asked to delete after {grace} s",
            detail={"grace_s": grace},
        )

    return await _step(plane, slug, caller, step)


def whole(connection: Connection, plane: Plane, slug: str, caller: Caller) -> dict[str, Any]:
    """A tenant with its backups' age and this month's usage. Raises `not_found`."""
    tenant = tenants.get(connection, slug, account=caller.account)
    shape = tenant_shape(tenant, plane.config, epochs.of(connection, slug))
    return shape | {"usage": usage.month(connection, slug, time.time())}


async def _step(plane: Plane, slug: str, caller: Caller, step: Step) -> dict[str, Any]:
    """Carry out a change of the caller's tenant in one transaction and answer the tenant."""

    def work(connection: Connection) -> dict[str, Any]:
        step(connection, tenants.get(connection, slug, account=caller.account))
        return whole(connection, plane, slug, caller)

    return await plane.database.write(work, asks=slug)


def _want(connection: Connection, tenant: Tenant, wanted: Desired, caller: Caller) -> None:
    _refuse_stopped(tenant)
    tenants.desire(connection, tenant, wanted, actor=caller.actor)


def _refuse_stopped(tenant: Tenant) -> None:
    if tenant.desired is Desired.SUSPENDED:
        why = f": {tenant.reason}" if tenant.reason else ""
        raise CloudError("conflict", f"tenant `{tenant.slug}` is suspended{why}; the operator must resume it first")
    if tenant.desired is Desired.DELETED:
        raise CloudError("conflict", f"tenant `{tenant.slug}` is being deleted; `resume` takes that back")


async def refuse_too_many(plane: Plane, caller: Caller, account_id: int) -> None:
    """Raise `conflict` when the account has as many tenants as it may."""
    most = plane.config.tenants_per_account
    if caller.is_operator:
        return
    slugs = await plane.database.read(lambda connection: tenants.slugs_of(connection, account_id))
    if len(slugs) >= most:
        raise CloudError("conflict", f"an account has at most {most} tenants; delete one, or ask the operator")


async def _owner(plane: Plane, caller: Caller, named: int | None) -> accounts.Account:
    if named is None or named == caller.account:
        return await own_account(plane, caller)
    if not caller.is_operator:
        raise CloudError("forbidden", "only the operator opens tenants for other accounts", param="account")
    return await plane.database.read(lambda connection: accounts.get(connection, named))


def _changes(plane: Plane, caller: Caller, tenant: Tenant, body: TenantChange) -> dict[str, Any]:
    """The row's new values. Raises `forbidden` or `invalid_value` beyond what the plan or the caller may."""
    values: dict[str, Any] = {}
    if body.plan is not None and body.plan != tenant.plan:
        if not caller.is_operator:
            raise CloudError("forbidden", "only the operator changes a plan", param="plan")
        if body.plan not in plane.config.plans:
            hint = nearest(body.plan, list(plane.config.plans))
            raise CloudError("invalid_value", f"unknown plan `{body.plan}`: {hint}", param="plan")
    plan = plane.config.plan(body.plan or tenant.plan)
    if body.plan is not None and body.plan != tenant.plan:
        values |= {"plan": plan.name, "nap_after_s": plan.idle_nap_s, "sleep_after_s": plan.idle_sleep_s}
    bounds = (("idle_nap_s", "nap_after_s", plan.idle_nap_s), ("idle_sleep_s", "sleep_after_s", plan.idle_sleep_s))
    for name, column, most in bounds:
        given = getattr(body, name)
        if given is not None:
            if given > most and not caller.is_operator:
                message = f"{name}: plan `{plan.name}` allows at most {most}"
                raise CloudError("invalid_value", message, param=name)
            values[column] = given
    if body.settings is not None:
        values["settings"] = body.settings
    if body.image is not None:
        if not caller.is_operator:
            raise CloudError("forbidden", "only the operator changes an image", param="image")
        values["image"] = body.image
    return values


def _would_go(connection: Connection, slug: str, caller: Caller, grace: int) -> dict[str, Any]:
    tenant = tenants.get(connection, slug, account=caller.account)
    kept = epochs.of(connection, slug)
    return {
        "dry_run": True,
        "id": slug,
        "grace_s": grace,
        "would_delete": {
            "data": True,
            "routes": True,
            "keys": len(tenant.keys),
            "backup_epochs": [epoch.n for epoch in kept],
            "backup_bytes": sum(epoch.bytes for epoch in kept),
        },
    }
