"""What tenants used of their plan's calls, and the events that tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, select, update

from control_plane.domain.quota import QuotaUsed, quota_said, taken, words_for
from control_plane.store.record import note
from control_plane.store.schema import tenants

ACTOR = "control_plane"


def take(connection: Connection, tenant: str, document: Mapping[str, Any] | None) -> None:
    """Take up the `quota` of a usage reading; an event for each step that is new this month."""
    said = quota_said(document)
    row = connection.execute(select(tenants.c.quota).where(tenants.c.slug == tenant)).first()
    if said is None or row is None:
        return
    before = QuotaUsed(**row.quota) if row.quota else None
    quota, news = taken(before, said)
    if quota != before:
        connection.execute(update(tenants).where(tenants.c.slug == tenant).values(quota=asdict(quota)))
    for step in news:
        detail = {"month": quota.month, "calls": quota.calls, "limit": quota.limit, "served_most": quota.served_most}
        kind, message = f"quota.{step.name.lower()}", words_for(step, quota)
        note(connection, tenant, actor=ACTOR, kind=kind, message=message, detail=detail)
