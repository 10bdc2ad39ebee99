"""What customers and operators do with tenants: create, list, change what is desired of one.

A write bumps the tenant's generation when it changes what the instance or the loop must do, and leaves a ledger entry
and an event. Functions take an open connection; `api/` runs them through `Database`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update

from control_plane.domain.plans import Plan
from control_plane.domain.slugs import TOMBSTONE_S
from control_plane.domain.tenants import Desired, RestoreRequest, Status, Tenant
from control_plane.errors import CloudError
from control_plane.store.record import record
from control_plane.store.rows import restore_row, tenant_from
from control_plane.store.schema import (
    events,
    keys,
    meta,
    tenants,
    usage_days,
    usage_model_days,
    usage_model_readings,
    usage_readings,
)

# Made once: the loop reads each tenant by them again and again.
FIND = select(tenants).where(tenants.c.slug == bindparam("slug"), tenants.c.purged_at.is_(None))
KEYS_OF = select(keys).where(keys.c.tenant == bindparam("slug")).order_by(keys.c.id)

REPEATED_WAKE_S = 1.0  # how often a wake of a tenant that seems awake is written down again


@dataclass(frozen=True, slots=True)
class NewTenant:
    """What is needed to create one. `sealed_secrets` is wrapped by the master key already."""

    slug: str
    account_id: int
    plan: Plan
    region: str
    image: str
    sealed_secrets: bytes
    restore: RestoreRequest | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def incarnation(connection: Connection) -> int:
    """How often this plane was restored from a backup, plus one."""
    value = connection.execute(select(meta.c.value).where(meta.c.name == "incarnation")).scalar_one_or_none()
    if value is None:
        connection.execute(insert(meta).values(name="incarnation", value="1"))
        return 1
    return int(value)


def create(connection: Connection, new: NewTenant, *, actor: str) -> None:
    """Insert the tenant, to be provisioned by the loop. Raises `slug_taken`.

    Over a tombstone of its own account, or one older than 90 days, generation and epoch numbers go on.
    """
    now = time.time()
    before = require_free(connection, new.slug, new.account_id)
    row = {
        "account_id": new.account_id,
        "plan": new.plan.name,
        "region": new.region,
        "desired": Desired.RUNNING,
        "reason": "",
        "image": new.image,
        "incarnation": incarnation(connection),
        "number": before.number + 1 if before else 1,
        "epoch": before.epoch if before else 0,
        "created_at": now,
        "wake_requested_at": now,
        "sleep_requested_at": None,
        "restart_requested_at": None,
        "verify_requested_at": None,
        "last_request_at": None,
        "scheduled_next_at": None,
        "suspend_after": None,
        "suspend_reason": None,
        "quota": None,
        "nap_after_s": new.plan.idle_nap_s,
        "sleep_after_s": new.plan.idle_sleep_s,
        "restore": restore_row(new.restore),
        "settings": new.settings,
        "delete_after": None,
        "purge_began_at": None,
        "status": Status.PROVISIONING,
        "failure": "",
        "next_action": "",
        "since": now,
        "applied_incarnation": 0,
        "applied_number": 0,
        "purged_at": None,
        "sealed_secrets": new.sealed_secrets,
    }
    if before is None:
        connection.execute(insert(tenants).values(slug=new.slug, **row))
    else:
        connection.execute(update(tenants).where(tenants.c.slug == new.slug).values(**row))
        if before.account_id != new.account_id:
            for table in (events, usage_days, usage_readings, usage_model_days, usage_model_readings):
                connection.execute(delete(table).where(table.c.tenant == new.slug))
    detail = {"plan": new.plan.name, "region": new.region, "account": new.account_id}
    record(connection, actor=actor, action="tenant.create", tenant=new.slug, message="created", detail=detail)


def require_free(connection: Connection, slug: str, account_id: int) -> Any:
    """The slug's tombstone, if there is one. Raises `slug_taken` unless this account may open a tenant under it."""
    before = connection.execute(select(tenants).where(tenants.c.slug == slug)).first()
    if before is not None and not _free(before, account_id, time.time()):
        raise CloudError("slug_taken", f"the slug `{slug}` is taken; choose another", param="slug")
    return before


def _free(before: Any, account_id: int, now: float) -> bool:
    if before.purged_at is None:
        return False
    return bool(before.account_id == account_id or now >= before.purged_at + TOMBSTONE_S)


def awake(connection: Connection) -> list[str]:
    """Slugs of the tenants whose instances write, as last seen."""
    running = (tenants.c.status == Status.RUNNING) & tenants.c.purged_at.is_(None)
    return list(connection.execute(select(tenants.c.slug).where(running)).scalars())


def find(connection: Connection, slug: str) -> Tenant | None:
    """The tenant with its keys; None when there is none or it was purged."""
    row = connection.execute(FIND, {"slug": slug}).first()
    return tenant_from(row, connection.execute(KEYS_OF, {"slug": slug})) if row is not None else None


def get(connection: Connection, slug: str, *, account: int | None) -> Tenant:
    """The tenant. Raises `not_found` also for one of another account (`account` None = the operator)."""
    tenant = find(connection, slug)
    if tenant is None or (account is not None and tenant.account_id != account):
        raise CloudError("not_found", f"there is no tenant `{slug}`")
    return tenant


def every(connection: Connection) -> list[Tenant]:
    """All tenants not yet purged, whole, by slug."""
    by_tenant: dict[str, list[Any]] = {}
    for key in connection.execute(select(keys).order_by(keys.c.id)):
        by_tenant.setdefault(key.tenant, []).append(key)
    rows = connection.execute(select(tenants).where(tenants.c.purged_at.is_(None)).order_by(tenants.c.slug))
    return [tenant_from(row, by_tenant.get(row.slug, ())) for row in rows]


def following(connection: Connection, after: str, limit: int) -> list[Tenant]:
    """The next tenants by slug, whole, purged ones left out; `after` "" begins."""
    mine = tenants.c.purged_at.is_(None) & (tenants.c.slug > after)
    rows = connection.execute(select(tenants).where(mine).order_by(tenants.c.slug).limit(limit)).all()
    by_tenant: dict[str, list[Any]] = {}
    if rows:
        within = keys.c.tenant.between(rows[0].slug, rows[-1].slug)
        for key in connection.execute(select(keys).where(within).order_by(keys.c.id)):
            by_tenant.setdefault(key.tenant, []).append(key)
    return [tenant_from(row, by_tenant.get(row.slug, ())) for row in rows]


def page(
    connection: Connection,
    *,
    account: int | None,
    status: str | None,
    q: str | None,
    limit: int,
    offset: int,
) -> tuple[list[Tenant], int]:
    """Tenants newest first, without their keys, and how many match."""
    chosen: list[ColumnElement[bool]] = [tenants.c.purged_at.is_(None)]
    if account is not None:
        chosen.append(tenants.c.account_id == account)
    if status is not None:
        chosen.append(tenants.c.status == status)
    if q:
        chosen.append(tenants.c.slug.contains(q, autoescape=True))
    order = (tenants.c.created_at.desc(), tenants.c.slug)
    rows = connection.execute(select(tenants).where(*chosen).order_by(*order).limit(limit).offset(offset))
    total = connection.execute(select(func.count()).select_from(tenants).where(*chosen)).scalar_one()
    return [tenant_from(row, ()) for row in rows], int(total)


def count_by_status(connection: Connection) -> dict[str, int]:
    """Number of tenants by status, purged ones left out."""
    rows = connection.execute(
        select(tenants.c.status, func.count()).where(tenants.c.purged_at.is_(None)).group_by(tenants.c.status)
    )
    return {row[0]: row[1] for row in rows}


def change(
    connection: Connection,
    tenant: Tenant,
    values: Mapping[str, Any],
    *,
    actor: str,
    action: str,
    message: str,
    detail: Mapping[str, Any] | None = None,
    bump: bool = True,
) -> None:
    """Write `values` to the tenant's row; `bump` gives its desired state the next generation."""
    number = {"number": tenants.c.number + 1} if bump else {}
    connection.execute(update(tenants).where(tenants.c.slug == tenant.slug).values(**values, **number))
    record(connection, actor=actor, action=action, tenant=tenant.slug, message=message, detail=detail)


def desire(connection: Connection, tenant: Tenant, wanted: Desired, *, actor: str, reason: str = "") -> bool:
    """Make `wanted` what is desired of the tenant; False when it already was and there is nothing to write.

    RUNNING is a wake: it also renews `wake_requested_at`, which ends an idle sleep.
    """
    now = time.time()
    verb = {Desired.RUNNING: "wake", Desired.ASLEEP: "sleep", Desired.SUSPENDED: "suspend", Desired.DELETED: "delete"}
    values: dict[str, Any] = {"desired": wanted, "reason": reason}
    if wanted is Desired.RUNNING:
        if tenant.desired is wanted and not wake_is_news(tenant, now):
            return False
        values["wake_requested_at"] = now
    elif tenant.desired is wanted and tenant.reason == reason:
        return False
    if wanted is Desired.ASLEEP:
        values["sleep_requested_at"] = now
    change(
        connection,
        tenant,
        values,
        actor=actor,
        action=f"tenant.{verb[wanted]}",
        message=f"asked to {verb[wanted]}" + (f": {reason}" if reason else ""),
        detail={"reason": reason} if reason else {},
        bump=tenant.desired is not wanted,
    )
    return True


def wake_is_news(tenant: Tenant, now: float) -> bool:
    """True when asking for the tenant to be awake changes anything; a suspended or deleted one is not woken."""
    if tenant.desired in (Desired.SUSPENDED, Desired.DELETED):
        return False
    return tenant.desired is not Desired.RUNNING or bool(tenant.failure) or not wake_is_known(tenant, now)


def wake_is_known(tenant: Tenant, now: float) -> bool:
    """A status of `running` may be older than a nap that has just begun: then a new wake must still be seen."""
    asked = tenant.wake_requested_at or 0.0
    if tenant.status is Status.RUNNING:
        return now - asked < REPEATED_WAKE_S
    return asked > tenant.since or tenant.status is Status.PROVISIONING


def slugs_of(connection: Connection, account: int) -> Sequence[str]:
    """Slugs of an account's tenants that are not purged."""
    query = select(tenants.c.slug).where(tenants.c.account_id == account, tenants.c.purged_at.is_(None))
    return connection.execute(query.order_by(tenants.c.slug)).scalars().all()


def slugs(connection: Connection) -> Sequence[str]:
    """Slugs of all tenants that are not purged."""
    return connection.execute(select(tenants.c.slug).where(tenants.c.purged_at.is_(None))).scalars().all()
