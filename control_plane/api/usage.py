"""What tenants used, and what plans allow."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import Query
from sqlalchemy import Connection

from control_plane.api.accounts import own_account
from control_plane.api.auth import BillingReader
from control_plane.api.bodies import epoch_seconds
from control_plane.api.plane import CurrentPlane
from control_plane.api.routing import make_router
from control_plane.domain.state import rfc3339
from control_plane.errors import CloudError
from control_plane.store import tenants, usage

router = make_router("usage")
From = Annotated[str | None, Query(alias="from", max_length=40, description="RFC 3339 or a date; its UTC day is in")]
To = Annotated[str | None, Query(max_length=40, description="RFC 3339 or a date; its UTC day is in")]
By = Annotated[Literal["day", "key", "model"], Query()]


@router.get("/api/tenants/{slug}/usage")
async def tenant_usage(
    slug: str, caller: BillingReader, plane: CurrentPlane, from_: From = None, to: To = None, by: By = "day"
) -> dict[str, Any]:
    """Daily records of one tenant, newest first."""

    def read(connection: Connection) -> list[dict[str, Any]]:
        tenants.get(connection, slug, account=caller.account)
        first, last = _day(from_, "from"), _day(to, "to")
        return usage.totals(connection, [slug], first_day=first, last_day=last, by=by)

    records = await plane.database.read(read)
    return {"usage": records, "count": len(records), "total": _sum(records)}


@router.get("/api/account/usage")
async def account_usage(
    caller: BillingReader, plane: CurrentPlane, from_: From = None, to: To = None, by: By = "day"
) -> dict[str, Any]:
    """Daily records of all tenants of the caller's account."""
    account = await own_account(plane, caller)

    def read(connection: Connection) -> list[dict[str, Any]]:
        slugs = list(tenants.slugs_of(connection, account.id))
        first, last = _day(from_, "from"), _day(to, "to")
        return usage.totals(connection, slugs, first_day=first, last_day=last, by=by)

    records = await plane.database.read(read)
    return {"usage": records, "count": len(records), "total": _sum(records)}


@router.get("/api/plans")
async def list_plans(plane: CurrentPlane) -> dict[str, Any]:
    """The plans and their limits; public. 0 = no limit."""
    plans = [{"name": name, **settings.model_dump()} for name, settings in plane.config.plans.items()]
    return {"plans": plans, "count": len(plans)}


def _sum(records: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("requests", "errors", "tokens_in", "tokens_out", "bytes_out")
    totals: dict[str, Any] = {name: sum(record[name] for record in records) for name in names}
    return totals | {"cost_usd": round(sum(record["cost_usd"] for record in records), 9)}


def _day(text: str | None, name: str) -> str | None:
    """The UTC day of a date or time."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    try:
        return (rfc3339(epoch_seconds(text)) or "")[:10]
    except ValueError:
        raise CloudError("invalid_value", f"{name}: must be a date or a time (RFC 3339)", param=name) from None
