"""`/api/trust/approvals`: calls that wait for people, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi import Query as QueryParameters
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from instance.brand import approval_store
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.system.auth import require
from instance.system.json_response import Json
from instance.system.listing import Query, envelope

if TYPE_CHECKING:
    from instance.brand.app import Brand

TrustRead = Annotated[Principal, Depends(require("trust:read"))]
TrustWrite = Annotated[Principal, Depends(require("trust:write"))]


class ApprovalsQuery(Query):
    status: Literal["pending", "approved", "denied", "used"] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0


class Vote(BaseModel):
    """What is said with a decision."""

    model_config = ConfigDict(extra="forbid")

    comment: Annotated[str, Field(max_length=2000)] = ""


def router(brand: Brand) -> APIRouter:
    """The routes of this page."""
    routes = APIRouter(prefix="/api/trust/approvals", tags=["trust"])
    core, approvals = brand.core, brand.approvals

    @routes.get("", summary="Calls that wait for approval, and what became of others")
    async def list_approvals(query: Annotated[ApprovalsQuery, QueryParameters()], principal: TrustRead) -> Response:
        now_ns = core.clock.wall_ns()
        rows = await core.database.read(
            lambda connection: approval_store.tickets(connection, query.status, query.limit + 1, query.offset, now_ns)
        )
        shown = [ticket.shown(now_ns) for ticket in rows[: query.limit]]
        answer = envelope("approvals", shown, total=query.offset + len(rows), capped=False, next_cursor=None)
        return Json({**answer, "has_more": len(rows) > query.limit})

    @routes.get("/{ticket_id}", summary="One approval with its votes")
    async def one_approval(ticket_id: str, principal: TrustRead) -> Response:
        ticket = await approvals.one(ticket_id)
        if ticket is None:
            raise StockyardError("not_found", f"There is no approval {ticket_id[:64]!r}.")
        return Json(ticket.shown(core.clock.wall_ns()))

    @routes.post("/{ticket_id}/approve", summary="Let the call pass, once")
    async def approve(ticket_id: str, principal: TrustWrite, vote: Vote | None = None) -> Response:
        comment = vote.comment if vote is not None else ""
        ticket = await approvals.vote(principal, ticket_id, approves=True, comment=comment)
        return Json(ticket.shown(core.clock.wall_ns()))

    @routes.post("/{ticket_id}/deny", summary="Do not let the call pass")
    async def deny(ticket_id: str, principal: TrustWrite, vote: Vote | None = None) -> Response:
        comment = vote.comment if vote is not None else ""
        ticket = await approvals.vote(principal, ticket_id, approves=False, comment=comment)
        return Json(ticket.shown(core.clock.wall_ns()))

    return routes
