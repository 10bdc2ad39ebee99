"""`/api/observe/*`: traces and costs over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends
from fastapi import Query as QueryParameters
from starlette.responses import Response

from instance.core.errors import StockyardError
from instance.core.principals import Principal, has_scope
from instance.core.timestamps import rfc3339_or_none
from instance.lookout import costs, store
from instance.lookout.alerts.routes import alert_router
from instance.lookout.queries import CostsQuery, DailyQuery, OverviewQuery, TracesQuery, hours_filter
from instance.lookout.trace_record import listed, whole
from instance.system.auth import require
from instance.system.json_response import Json
from instance.system.listing import Period, envelope, read_cursor, write_cursor

if TYPE_CHECKING:
    from instance.lookout.app import Lookout

ObserveRead = Annotated[Principal, Depends(require("observe:read"))]

DEFAULT_COST_DAYS = 30


def router(lookout: Lookout) -> APIRouter:
    """The routes of one Lookout."""
    routes = APIRouter(prefix="/api/observe", tags=["observe"])
    core = lookout.core
    read = core.database.read

    def bounds(period: Period, default_days: int) -> tuple[int, int]:
        now = core.clock.wall_ns()
        start, end = period.bounds_ns(now, default_days)
        end = now if end is None else end
        return (end - default_days * costs.NS_PER_DAY if start is None else start), end

    @routes.get("/traces", summary="List traces")
    async def list_traces(query: Annotated[TracesQuery, QueryParameters()], principal: ObserveRead) -> Response:
        narrowed = query.filter(*query.bounds_ns(core.clock.wall_ns()), principal.team)
        after = read_cursor(query.cursor, 2) if query.cursor else None
        rows = await read(
            lambda connection: store.traces(
                connection,
                narrowed,
                sort=query.sort,
                ascending=query.order == "asc",
                limit=query.limit + 1,
                offset=0 if after else query.offset,
                after=after,
            )
        )
        total, capped = await read(lambda connection: store.total(connection, narrowed))
        shown = rows[: query.limit]
        more = None
        if len(rows) > query.limit:
            more = write_cursor(shown[-1][store.SORTS[query.sort]], shown[-1]["n"])
        records = [listed(row, row["tags"]) for row in shown]
        return Json(envelope("traces", records, total=total, capped=capped, next_cursor=more))

    @routes.get("/traces/{id}", summary="One trace with its decisions")
    async def one_trace(id: str, principal: ObserveRead) -> Response:
        found = await read(lambda connection: store.one(connection, id, principal.team))
        if found is None:
            raise StockyardError("not_found", f"There is no trace or request {id[:64]!r}.")
        return Json(whole(*found, may_read_content=has_scope(principal, "content:read")))

    @routes.get("/costs", summary="What calls cost, by group")
    async def list_costs(query: Annotated[CostsQuery, QueryParameters()], principal: ObserveRead) -> Response:
        start, end = bounds(query, DEFAULT_COST_DAYS)
        groups, narrowed = query.groups(), hours_filter(query.project, principal.team)
        return Json(await read(lambda connection: costs.costs(connection, start, end, groups, narrowed)))

    @routes.get("/costs/daily", summary="What calls cost, by day")
    async def daily_costs(query: Annotated[DailyQuery, QueryParameters()], principal: ObserveRead) -> Response:
        start, end = bounds(query, DEFAULT_COST_DAYS)
        if query.from_ is None:
            start += costs.NS_PER_DAY - start % costs.NS_PER_DAY
        if (end - start) // costs.NS_PER_DAY > 3660:
            raise StockyardError("invalid_value", "The period is longer than 3660 days.", param="from")
        narrowed = hours_filter(query.project, principal.team)
        return Json({"daily": await read(lambda connection: costs.daily(connection, start, end, narrowed))})

    @routes.get("/overview", summary="Calls, tokens and costs at a glance")
    async def overview(query: Annotated[OverviewQuery, QueryParameters()], principal: ObserveRead) -> Response:
        start, end = bounds(query, 1)
        narrowed = hours_filter(query.project, query.team, principal.team)
        now = core.clock.wall_ns()
        shown = await read(lambda connection: costs.overview(connection, now, start, end, narrowed))
        active = firing = 0
        if not (principal.client or principal.multi_client):  # alerts are the instance's
            await lookout.alerts.load()
            active = sum(kept.rule.enabled for kept in lookout.alerts.kept.values())
            firing = lookout.alerts.firing
        return Json({**shown, "active_alerts": active, "firing_alerts": firing})

    @routes.get("/status", summary="Lookout at a glance")
    async def status(principal: ObserveRead) -> Response:
        count, oldest = await read(store.extent)
        await lookout.alerts.load()
        return Json(
            {
                "app": "observe",
                "status": "ok" if core.journal.available else "down",
                "traces": count,
                "oldest_trace_at": rfc3339_or_none(oldest),
                "retention_days": None,
                "journal_lag_ms": core.writer.lag_ms,
                "journal_bytes": core.writer.lag_bytes,
                "dropped": 0,
                "alerts": len(lookout.alerts.kept),
                "exporters": [],
            }
        )

    routes.routes += alert_router(lookout.alerts, core).routes
    return routes
