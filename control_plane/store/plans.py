"""Plans are configuration; what of them instances are told is pushed with a tenant's state, so a changed plan is a change of it."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from sqlalchemy import Connection, insert, select, update

from control_plane import ledger
from control_plane.domain.plans import Plan
from control_plane.domain.state import plan_state
from control_plane.store.schema import meta, tenants

NAME = "plans"


def take_up(connection: Connection, plans: Iterable[Plan]) -> list[str]:
    """Give every tenant of a plan that says other things than at the last start its next generation; those plans."""
    told = {plan.name: plan_state(plan) for plan in plans}
    row = connection.execute(select(meta.c.value).where(meta.c.name == NAME)).first()
    before = orjson.loads(row.value) if row is not None else {}
    changed = sorted(name for name, state in told.items() if before.get(name) != state)
    if not changed:
        return []
    value = orjson.dumps(before | told).decode()
    if row is None:
        connection.execute(insert(meta).values(name=NAME, value=value))
    else:
        connection.execute(update(meta).where(meta.c.name == NAME).values(value=value))
    theirs = tenants.c.plan.in_(changed) & tenants.c.purged_at.is_(None)
    moved = connection.execute(update(tenants).where(theirs).values(number=tenants.c.number + 1)).rowcount
    if moved:
        detail = {"plans": changed, "tenants": moved}
        ledger.append(
            connection,
            event_type="admin_action",
            actor="control_plane",
            resource="plans",
            action="plans.change",
            detail=detail,
        )
    return changed
