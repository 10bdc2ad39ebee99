"""Tenants: list, create, read, change."""

from __future__ import annotations

import platform
import time
from typing import Any

from sqlalchemy import Connection

from control_plane.api import opening
from control_plane.api.accounts import own_account
from control_plane.api.auth import Caller, TenantReader, TenantWriter
from control_plane.api.bodies import TenantChange, TenantCreate
from control_plane.api.opening import Opening
from control_plane.api.own_tenant import carry_out, open_and_show, refuse_too_many, whole
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import Cursor, Limit, Offset, make_router
from control_plane.api.shapes import list_shape, tenant_shape
from control_plane.domain.tenants import RestoreRequest, Status, Tenant
from control_plane.errors import CloudError, nearest
from control_plane.moving.imports import Import, import_from, require_good_passphrase
from control_plane.store import accounts, epochs, tenants

router = make_router("tenants")


@router.get("/api/tenants")
async def list_tenants(
    caller: TenantReader,
    plane: CurrentPlane,
    status: Status | None = None,
    q: str | None = None,
    node: str | None = None,
    limit: Limit = 50,
    offset: Offset = 0,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """The caller's tenants, newest first; `q` is a part of the slug."""
    begin = offset if cursor is None else cursor
    if node not in (None, platform.node()):
        return list_shape("tenants", [], 0, begin)

    def read(connection: Connection) -> dict[str, Any]:
        rows, total = tenants.page(connection, account=caller.account, status=status, q=q, limit=limit, offset=begin)
        lives = epochs.of_each(connection, [row.slug for row in rows])
        shapes = [tenant_shape(row, plane.config, lives[row.slug], plane.lag_of(row.slug)) for row in rows]
        return list_shape("tenants", shapes, total, begin)

    return await plane.database.read(read)


@router.post("/api/tenants", status_code=201)
async def create_tenant(body: TenantCreate, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Open a tenant; its first keys are in this answer and in no other. It goes on `provisioning`.

    With `import_url` and `passphrase` it begins with an exported file. The file itself may be sent instead, as
    `multipart/form-data` with the fields `slug`, `passphrase`, `plan` and, last, `file`.
    """
    account, plan = await may_open(plane, caller, body.slug, body.plan, body.account)
    if body.import_url is not None:
        given = require_good_passphrase(body.passphrase)
        asked_in = Import(body.slug, plan, body.region or plane.config.region, account.id, caller.actor, given)
        return await import_from(plane, asked_in, body.import_url)
    restore = None
    if body.from_backup is not None:
        source = body.from_backup.tenant
        await plane.database.read(lambda connection: tenants.get(connection, source, account=caller.account))
        restore = RestoreRequest(at=body.from_backup.at, source=source, requested_at=time.time())
    asked = Opening(body.slug, plan, body.region or plane.config.region, restore)
    return await open_and_show(plane, asked, account.id, caller.actor)


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

    return await carry_out(plane, slug, caller, change)


async def may_open(
    plane: Plane, caller: Caller, slug: str, plan: str | None, owner: int | None
) -> tuple[accounts.Account, str]:
    """The account and the plan of a tenant that the caller may open. Raises what is in the way."""
    account = await _owner(plane, caller, owner)
    plan = plan or account.plan
    opening.check(plane, slug, plan)
    if not caller.is_operator and plan != account.plan:
        raise CloudError("forbidden", f"this account has plan `{account.plan}`; ask the operator for another")
    await refuse_too_many(plane, caller, account.id)
    return account, plan


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
