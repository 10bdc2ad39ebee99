"""Backups of a tenant: which there are, have one verified, restore from one, clone from one."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection

from control_plane.api import opening
from control_plane.api.auth import Caller, TenantReader, TenantWriter
from control_plane.api.bodies import Restore, epoch_seconds
from control_plane.api.opening import Opening
from control_plane.api.own_tenant import open_and_show, refuse_too_many, whole
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import make_router
from control_plane.api.shapes import epoch_shape
from control_plane.domain.retention import window
from control_plane.domain.state import rfc3339
from control_plane.domain.tenants import Desired, Epoch, RestoreRequest, Tenant
from control_plane.errors import CloudError
from control_plane.reconcile.restore_plan import candidates
from control_plane.store import epochs, tenants
from control_plane.store.rows import restore_row

router = make_router("backups")


@router.get("/api/tenants/{slug}/backups")
async def list_backups(slug: str, caller: TenantReader, plane: CurrentPlane) -> dict[str, Any]:
    """The lives of the tenant's database and the times that a restore may name."""

    def read(connection: Connection) -> tuple[Tenant, list[Epoch]]:
        return tenants.get(connection, slug, account=caller.account), epochs.of(connection, slug)

    tenant, lives = await plane.database.read(read)
    days = plane.config.plan(tenant.plan).backup_days
    begin, end = window(lives, time.time(), days) or (None, None)
    shown = {"from": rfc3339(begin), "to": rfc3339(end), "days": days}
    return {"epochs": [epoch_shape(life) for life in reversed(lives)], "window": shown}


@router.post("/api/tenants/{slug}/backups/verify", status_code=202)
async def verify_backup(slug: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    """Have the newest backup restored elsewhere and checked; the outcome is an event and `verified_at`."""

    def work(connection: Connection) -> dict[str, Any]:
        tenant = tenants.get(connection, slug, account=caller.account)
        if not any(life.confirmed_at for life in epochs.of(connection, slug)):
            raise CloudError("conflict", f"tenant `{slug}` has no confirmed backup yet; try again in a moment")
        tenants.change(
            connection,
            tenant,
            {"verify_requested_at": time.time()},
            actor=caller.actor,
            action="backup.verify",
            message="asked to verify the newest backup",
            bump=False,
        )
        return {"status": "verifying", "id": slug}

    return await plane.database.write(work, asks=slug)


@router.post("/api/tenants/{slug}/restore", status_code=202)
async def restore(
    slug: str, body: Restore, caller: TenantWriter, plane: CurrentPlane, dry_run: bool = False
) -> dict[str, Any]:
    """Go back to the newest backup, a time or an epoch; or, with `into`, open a new tenant from it.

    The present database is kept aside until the restored one verifies. `dry_run` says what would be read and set
    aside, and changes nothing.
    """
    if dry_run:
        return await plane.database.read(lambda connection: _would_restore(connection, slug, body, caller, plane))
    if body.into is not None:
        return await _clone(slug, body, body.into, caller, plane)

    def work(connection: Connection) -> dict[str, Any]:
        tenant = tenants.get(connection, slug, account=caller.account)
        if tenant.desired in (Desired.DELETED, Desired.SUSPENDED):
            raise CloudError("conflict", f"tenant `{slug}` is {tenant.desired}; resume it first")
        _refuse_impossible(connection, slug, body, plane.config.plan(tenant.plan).backup_days)
        now = time.time()
        request = RestoreRequest(at=body.at, epoch=body.epoch, requested_at=now)
        where = body.at or (f"epoch {body.epoch}" if body.epoch else "the newest backup")
        tenants.change(
            connection,
            tenant,
            {"restore": restore_row(request), "desired": Desired.RUNNING, "wake_requested_at": now},
            actor=caller.actor,
            action="tenant.restore",
            message=f"asked to restore {where}",
            detail={"at": body.at or "", "epoch": body.epoch or 0},
        )
        return whole(connection, plane, slug, caller)

    return await plane.database.write(work, asks=slug)


def _would_restore(connection: Connection, slug: str, body: Restore, caller: Caller, plane: Plane) -> dict[str, Any]:
    tenant = tenants.get(connection, slug, account=caller.account)
    _refuse_impossible(connection, slug, body, plane.config.plan(tenant.plan).backup_days)
    if body.into is not None:
        opening.check(plane, body.into, tenant.plan)
    lives = epochs.of(connection, slug)
    order = candidates(lives, RestoreRequest(at=body.at, epoch=body.epoch))
    read = [next(life for life in lives if life.n == each.epoch) for each in order if each.confirmed]
    return {
        "dry_run": True,
        "id": slug,
        "would_restore": {
            "at": body.at or rfc3339(read[0].confirmed_at) if read else None,
            "epochs": [epoch_shape(life) for life in read],
            "into": body.into or slug,
        },
        "would_set_aside": None
        if body.into
        else {
            "epoch": tenant.epoch or None,
            "last_request_at": rfc3339(tenant.last_request_at),
            "until": "the restored database verifies",
        },
    }


async def _clone(slug: str, body: Restore, into: str, caller: TenantWriter, plane: CurrentPlane) -> dict[str, Any]:
    def read(connection: Connection) -> Tenant:
        source = tenants.get(connection, slug, account=caller.account)
        _refuse_impossible(connection, slug, body, plane.config.plan(source.plan).backup_days)
        return source

    source = await plane.database.read(read)
    opening.check(plane, into, source.plan)
    await refuse_too_many(plane, caller, source.account_id)
    request = RestoreRequest(at=body.at, epoch=body.epoch, source=slug, requested_at=time.time())
    asked = Opening(into, source.plan, source.region, request)
    return await open_and_show(plane, asked, source.account_id, caller.actor)


def _refuse_impossible(connection: Connection, slug: str, body: Restore, days: int) -> None:
    """Raise `invalid_value` or `conflict` for a place that no backup can answer."""
    lives, now = epochs.of(connection, slug), time.time()
    reach = window(lives, now, days)
    if reach is None:
        raise CloudError("conflict", f"tenant `{slug}` has no confirmed backup yet; try again in a moment")
    if body.epoch is not None:
        life = next((each for each in lives if each.n == body.epoch), None)
        if life is None:
            raise CloudError("invalid_value", f"tenant `{slug}` has no epoch {body.epoch}", param="epoch")
        if life.expired_at is not None:
            gone = f"the backup of epoch {body.epoch} was removed at {rfc3339(life.expired_at)}: the plan keeps {days} days"
            raise CloudError("invalid_value", gone, param="epoch")
    if body.at is not None:
        at = epoch_seconds(body.at)
        if at > now:
            raise CloudError("invalid_value", "`at` lies in the future", param="at")
        if at < reach[0]:
            outside = f"backups reach from {rfc3339(reach[0])} to {rfc3339(reach[1])}; the plan keeps {days} days"
            raise CloudError("invalid_value", outside, param="at")
