"""The caller's tenant: found, changed in one transaction, answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from control_plane.api import opening
from control_plane.api.auth import Caller
from control_plane.api.opening import Opening
from control_plane.api.plane import Plane
from control_plane.api.shapes import quota_shape, tenant_shape
from control_plane.domain.tenants import Tenant
from control_plane.errors import CloudError
from control_plane.store import epochs, tenants, usage

Step = Callable[[Connection, Tenant], None]


def whole(connection: Connection, plane: Plane, slug: str, caller: Caller) -> dict[str, Any]:
    """A tenant with its backups' age and this month's usage. Raises `not_found`."""
    tenant = tenants.get(connection, slug, account=caller.account)
    shape = tenant_shape(tenant, plane.config, epochs.of(connection, slug), plane.lag_of(slug))
    progress = plane.reconciler.progress(slug) if plane.reconciler is not None else {}
    used = usage.month(connection, slug, time.time())
    return (
        shape
        | progress
        | {"usage": used | {"quota": quota_shape(tenant, plane.config.plan(tenant.plan), used["since"][:7])}}
    )


async def carry_out(plane: Plane, slug: str, caller: Caller, step: Step) -> dict[str, Any]:
    """Carry out a change of the caller's tenant in one transaction and answer the tenant."""

    def work(connection: Connection) -> dict[str, Any]:
        step(connection, tenants.get(connection, slug, account=caller.account))
        return whole(connection, plane, slug, caller)

    return await plane.database.write(work, asks=slug)


async def open_and_show(plane: Plane, asked: Opening, account_id: int, actor: str) -> dict[str, Any]:
    """Open the tenant and answer it with its first keys."""

    def work(connection: Connection) -> dict[str, Any]:
        first = opening.open_tenant(connection, plane, asked, account_id, actor)
        return tenant_shape(tenants.get(connection, asked.slug, account=None), plane.config) | first.shape()

    return await plane.database.write(work, asks=asked.slug)


async def refuse_too_many(plane: Plane, caller: Caller, account_id: int) -> None:
    """Raise `conflict` when the account has as many tenants as it may."""
    most = plane.config.tenants_per_account
    if caller.is_operator:
        return
    slugs = await plane.database.read(lambda connection: tenants.slugs_of(connection, account_id))
    if len(slugs) >= most:
        raise CloudError("conflict", f"an account has at most {most} tenants; delete one, or ask the operator")
