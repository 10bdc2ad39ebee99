"""`/api/billing/usage`: what was used, as usagepulse metered it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi import Query as QueryParameters
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from instance.chute.modules.cost.usage_buckets import DAY_S, HOUR_S, MINUTE_S, NS_PER_S, RESOLUTIONS
from instance.chute.modules.cost.usage_caps import dimension_named
from instance.chute.modules.cost.usagepulse import SERVICE, UsagePulse
from instance.chute.usage_export import UsageAsked
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.timestamps import rfc3339
from instance.system.auth import require
from instance.system.json_response import Json
from instance.system.listing import Period

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("billing:read"))]

DEFAULT_DAYS = 30
ROWS_MAX = 10_000
"""Rows of one JSON answer; exports have no limit."""


class UsageQuery(Period):
    """Whose usage, over which time, in which form."""

    group_by: Annotated[
        str,
        Field(
            max_length=128,
            description="A dimension (team, key, user, model, provider, project, operation, tag:NAME), and with a comma "
            "minute, hour or day for a row for each period.",
        ),
    ] = "model"
    value: Annotated[str | None, Field(max_length=256, description="Only this value of the dimension.")] = None
    format: Annotated[Literal["json", "ndjson", "csv"], Field(description="One JSON object, JSON Lines, or CSV.")] = (
        "json"
    )


def usage_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/api/billing", tags=["billing"])
    core = chute.core

    @router.get("/usage", summary="What was used, by dimension and period")
    async def usage(query: Annotated[UsageQuery, QueryParameters()], principal: Reader) -> Response:
        module: UsagePulse | None = core.services.get(SERVICE)
        if module is not None:
            await core.writer.drain()
            await module.catch_up()
        asked = _asked(query, principal, module, core.clock.wall_ns())
        if query.format != "json":
            ndjson = query.format == "ndjson"
            lines = asked.json_lines(core) if ndjson else asked.csv(core)
            name = f'attachment; filename="usage.{query.format}"'
            return StreamingResponse(
                lines,
                media_type="application/x-ndjson" if ndjson else "text/csv; charset=utf-8",
                headers={"content-disposition": name, "cache-control": "no-store"},
            )
        rows: list[dict[str, Any]] = []
        async for page in asked.pages(core):
            rows += page
            if len(rows) > ROWS_MAX:
                break
        period = {"from": rfc3339(asked.start_s * NS_PER_S), "to": rfc3339(asked.end_s * NS_PER_S)}
        shown = rows[:ROWS_MAX]
        return Json({"period": period, "usage": shown, "count": len(shown), "has_more": len(rows) > ROWS_MAX})

    return router


def _asked(query: UsageQuery, principal: Principal, module: UsagePulse | None, now_ns: int) -> UsageAsked:
    names = [name.strip() for name in query.group_by.split(",")]
    units = [name for name in names if name in RESOLUTIONS]
    dimensions = [name for name in names if name not in RESOLUTIONS]
    if len(units) > 1 or len(dimensions) != 1:
        raise StockyardError(
            "invalid_value", "Give one dimension, and one of minute, hour and day if wanted.", param="group_by"
        )
    try:
        dimension = dimension_named(dimensions[0], module.settings.tags if module is not None else ())
    except ValueError as error:
        raise StockyardError("invalid_value", f"{error}.", param="group_by") from None
    value = query.value
    if principal.team:
        if dimension != "team" or value not in (None, principal.team):
            raise StockyardError("forbidden", "This key sees the usage of its team: group_by=team.", param="group_by")
        value = principal.team
    start_ns, end_ns = query.bounds_ns(now_ns, DEFAULT_DAYS)
    end_ns = now_ns if end_ns is None else end_ns
    unit = units[0] if units else ""
    resolution_s = RESOLUTIONS[unit] if unit else _resolution(start_ns or 0, now_ns, module)
    start_s = (start_ns or 0) // NS_PER_S // resolution_s * resolution_s
    return UsageAsked(dimension, unit, resolution_s, start_s, -(-end_ns // NS_PER_S), value)


def _resolution(start_ns: int, now_ns: int, module: UsagePulse | None) -> int:
    """The finest resolution that is kept for the whole time."""
    if module is None:
        return DAY_S
    age_days = (now_ns - start_ns) / (DAY_S * NS_PER_S)
    if age_days < module.settings.keep_minute_days:
        return MINUTE_S
    return HOUR_S if age_days < module.settings.keep_hour_days else DAY_S
