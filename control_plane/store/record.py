"""What every write leaves in its own transaction: a ledger entry and, about a tenant, an event and a word that it changed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from control_plane import ledger
from control_plane.domain.state import rfc3339
from control_plane.store.schema import events

NOTE = insert(events)
CHANGED_TENANTS = "changed_tenants"
"""Under this name a connection keeps the slugs that its transaction recorded something of; `Database` passes them on."""


def record(
    connection: Connection,
    *,
    actor: str,
    action: str,
    message: str,
    tenant: str | None = None,
    resource: str | None = None,
    detail: Mapping[str, Any] | None = None,
    event_type: str = "admin_action",
) -> None:
    """Write the ledger entry and the tenant's event. `action` is dotted, `tenant.sleep`; `detail` holds no secret."""
    at = time.time()
    resource = resource or f"tenant:{tenant}"
    ledger.append(
        connection,
        event_type=event_type,
        actor=actor,
        resource=resource,
        action=action,
        detail=detail or {},
        at=at,
    )
    if tenant is not None:
        note(connection, tenant, actor=actor, kind=action, message=message, detail=detail, at=at)
        connection.info.setdefault(CHANGED_TENANTS, set()).add(tenant)


def note(
    connection: Connection,
    tenant: str,
    *,
    actor: str,
    kind: str,
    message: str,
    detail: Mapping[str, Any] | None = None,
    at: float | None = None,
) -> None:
    """An event on the tenant alone: something seen, not something done."""
    row = {"tenant": tenant, "actor": actor, "kind": kind, "message": message, "detail": dict(detail or {})}
    connection.execute(NOTE, row | {"at": time.time() if at is None else at})


def events_of(connection: Connection, tenant: str, *, limit: int, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Events newest first, and their number."""
    mine = events.c.tenant == tenant
    rows = connection.execute(select(events).where(mine).order_by(events.c.id.desc()).limit(limit).offset(offset))
    found = [_event(row) for row in rows]
    return found, int(connection.execute(select(func.count()).select_from(events).where(mine)).scalar_one())


def events_after(connection: Connection, tenant: str, after: int, *, limit: int) -> list[dict[str, Any]]:
    """Events with an id beyond `after`, oldest first."""
    later = (events.c.tenant == tenant) & (events.c.id > after)
    return [_event(row) for row in connection.execute(select(events).where(later).order_by(events.c.id).limit(limit))]


def prune_events(connection: Connection, *, before: float, per_tenant: int, most: int) -> int:
    """Remove events older than `before`, and of each tenant all but the newest ones; at most about `most` rows a time."""
    old = select(events.c.id).where(events.c.at < before).order_by(events.c.id).limit(most)
    removed = connection.execute(delete(events).where(events.c.id.in_(old))).rowcount
    many = select(events.c.tenant).group_by(events.c.tenant).having(func.count() > per_tenant)
    for tenant in connection.execute(many).scalars().all():
        newest = select(events.c.id).where(events.c.tenant == tenant).order_by(events.c.id.desc())
        first_kept = connection.execute(newest.offset(per_tenant - 1).limit(1)).scalar_one()
        surplus = (
            select(events.c.id)
            .where(events.c.tenant == tenant, events.c.id < first_kept)
            .order_by(events.c.id)
            .limit(most)
        )
        removed += connection.execute(delete(events).where(events.c.id.in_(surplus))).rowcount
    return removed


def last_of_kinds(connection: Connection, kinds: Sequence[str]) -> dict[str, str]:
    """Of each tenant with such events, the kind of the newest."""
    newest = select(func.max(events.c.id)).where(events.c.kind.in_(kinds)).group_by(events.c.tenant)
    rows = connection.execute(select(events.c.tenant, events.c.kind).where(events.c.id.in_(newest)))
    return {row.tenant: row.kind for row in rows}


def _event(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "tenant": row.tenant,
        "at": rfc3339(row.at),
        "actor": row.actor,
        "kind": row.kind,
        "message": row.message,
        "detail": row.detail,
    }
