"""What every write leaves in its own transaction: a ledger entry and, about a tenant, an event."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select

from control_plane import ledger
from control_plane.domain.state import rfc3339
from control_plane.store.schema import events


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
    connection.execute(
        insert(events).values(
            tenant=tenant,
            at=time.time() if at is None else at,
            actor=actor,
            kind=kind,
            message=message,
            detail=dict(detail or {}),
        )
    )


def events_of(
    connection: Connection, tenant: str, *, limit: int, offset: int = 0, after: int = 0
) -> tuple[list[dict[str, Any]], int]:
    """Events with an id beyond `after`, newest first, and their number."""
    chosen = (events.c.tenant == tenant) & (events.c.id > after)
    rows = connection.execute(select(events).where(chosen).order_by(events.c.id.desc()).limit(limit).offset(offset))
    found = [dict(row._mapping) | {"at": rfc3339(row.at)} for row in rows]
    total = connection.execute(select(func.count()).select_from(events).where(chosen)).scalar_one()
    return found, int(total)
