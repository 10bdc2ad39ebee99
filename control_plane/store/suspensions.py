"""Suspensions that were announced: written down with the time they take effect, so that no restart forgets one."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import Connection, select, update

from control_plane.domain.state import rfc3339
from control_plane.domain.tenants import Desired, Tenant
from control_plane.store import tenants
from control_plane.store.database import Database
from control_plane.store.schema import tenants as table

ACTOR = "control_plane"
LOOK_S = 1.0  # how late one takes effect at most


def announce(connection: Connection, tenant: Tenant, at: float, *, actor: str, reason: str) -> None:
    """Suspend the tenant at that time unless it is taken back; a second announcement replaces the first."""
    message = f"suspension announced for {rfc3339(at)}" + (f": {reason}" if reason else "")
    tenants.change(
        connection,
        tenant,
        {"suspend_after": at, "suspend_reason": reason},
        actor=actor,
        action="tenant.suspend_announced",
        message=message,
        detail={"at": rfc3339(at), "reason": reason},
        bump=False,
    )


def take_back(connection: Connection, tenant: Tenant, *, actor: str) -> None:
    """Forget an announced suspension; writes nothing where there is none."""
    if tenant.suspend_after is None:
        return
    tenants.change(
        connection,
        tenant,
        {"suspend_after": None, "suspend_reason": None},
        actor=actor,
        action="tenant.suspend_taken_back",
        message="the announced suspension was taken back",
        bump=False,
    )


def suspend(connection: Connection, tenant: Tenant, *, actor: str, reason: str) -> None:
    """Suspend it now, which answers an announcement too."""
    mine = table.c.slug == tenant.slug
    connection.execute(update(table).where(mine).values(suspend_after=None, suspend_reason=None))
    tenants.desire(connection, tenant, Desired.SUSPENDED, actor=actor, reason=reason)


def carry_out_due(connection: Connection, now: float) -> list[str]:
    """Suspend every tenant whose time has come; their slugs. One that is being deleted stays so."""
    due = select(table.c.slug).where(table.c.suspend_after <= now, table.c.purged_at.is_(None))
    slugs = list(connection.execute(due).scalars())
    for slug in slugs:
        tenant = tenants.find(connection, slug)
        if tenant is None or tenant.desired is Desired.DELETED:
            gone = {"suspend_after": None, "suspend_reason": None}
            connection.execute(update(table).where(table.c.slug == slug).values(**gone))
        else:
            suspend(connection, tenant, actor=ACTOR, reason=tenant.suspend_reason)
    return slugs


async def keep(database: Database) -> None:
    """Carry out what is due, for ever; what came due while no control plane ran, at once."""
    soonest = select(table.c.suspend_after).where(table.c.suspend_after.is_not(None)).order_by(table.c.suspend_after)
    while True:
        next_at = await database.read(lambda connection: connection.execute(soonest.limit(1)).scalar_one_or_none())
        if next_at is not None and next_at <= time.time():
            for slug in await database.write(lambda connection: carry_out_due(connection, time.time())):
                database.ask(slug)
        await asyncio.sleep(LOOK_S)
