"""`/api/trust/evidence`: evidence packs over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends
from fastapi import Query as QueryParameters
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import FileResponse, Response

from instance.brand import evidence_store
from instance.brand.evidence_store import Pack
from instance.brand.store import LedgerFilter
from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.core.principals import Principal
from instance.core.timestamps import parse_time, rfc3339
from instance.core.writer import LedgerEvent
from instance.system.audit import actor_of
from instance.system.auth import require
from instance.system.credentials import demand
from instance.system.json_response import Json
from instance.system.listing import Query, envelope

if TYPE_CHECKING:
    from instance.brand.app import Brand

TrustRead = Annotated[Principal, Depends(require("trust:read"))]
TrustWrite = Annotated[Principal, Depends(require("trust:write"))]

Name = Annotated[str, Field(max_length=256)]
PartName = Literal["ledger", "policies", "keys", "config", "costs", "traces", "feedback"]


class EventFilter(BaseModel):
    """What narrows the ledger's part of a pack."""

    model_config = ConfigDict(extra="forbid")

    event_type: Name | None = None
    actor: Name | None = None
    resource: Name | None = None
    action: Name | None = None


class NewPack(BaseModel):
    """What `POST` takes."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    date_from: Annotated[str, Field(max_length=64, description="Start, RFC 3339 or a date; included.")]
    date_to: Annotated[str, Field(max_length=64, description="End, RFC 3339 or a date; not included.")]
    description: Annotated[str, Field(max_length=2000)] = ""
    include: Annotated[list[PartName], Field(max_length=16, description="Parts; the ledger is always in.")] = [
        "ledger",
        "policies",
        "keys",
        "config",
        "costs",
    ]
    filter: EventFilter = EventFilter()


class PacksQuery(Query):
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0


def router(brand: Brand) -> APIRouter:
    """The routes of this page."""
    routes = APIRouter(prefix="/api/trust/evidence", tags=["trust"])
    core, evidence = brand.core, brand.evidence

    async def found(pack_id: str) -> Pack:
        pack = await core.database.read(lambda connection: evidence_store.one(connection, pack_id))
        if pack is None:
            raise StockyardError("not_found", f"There is no evidence pack {pack_id[:64]!r}.")
        return pack

    def listed(pack: Pack) -> dict[str, Any]:
        state = evidence.state(pack)
        return {**evidence_store.shown(pack), "status": state}

    @routes.get("", summary="List evidence packs")
    async def list_packs(query: Annotated[PacksQuery, QueryParameters()], principal: TrustRead) -> Response:
        rows = await core.database.read(lambda connection: evidence_store.packs(connection, query.limit, query.offset))
        total = await core.database.read(evidence_store.count)
        answer = envelope("packs", [listed(pack) for pack in rows], total=total, capped=False, next_cursor=None)
        return Json({**answer, "has_more": query.offset + len(rows) < total})

    @routes.post("", status_code=202, summary="Bundle what happened in a period")
    async def create_pack(body: NewPack, principal: TrustWrite) -> Response:
        start, end = _moment("date_from", body.date_from), _moment("date_to", body.date_to)
        if start >= end:
            raise StockyardError("invalid_value", "`date_from` must lie before `date_to`.", param="date_from")
        if evidence.full:
            raise StockyardError("conflict", "Too many packs are being built; wait until one is ready.")
        chosen = body.filter.model_dump(exclude_none=True)
        await core.writer.drain()
        period = LedgerFilter(created_from=rfc3339(start), created_to=rfc3339(end), **chosen)
        _, _, count = await core.database.read(lambda connection: evidence_store.extent(connection, period))
        if not count:
            raise StockyardError("invalid_value", "The ledger has no entry in this period.", param="date_from")
        pack = {
            "id": new_id("evd_"),
            "name": body.name,
            "description": body.description,
            "include": orjson.dumps(sorted({"ledger", *body.include})).decode(),
            "filter": orjson.dumps(chosen).decode(),
            "date_from": rfc3339(start),
            "date_to": rfc3339(end),
            "status": "building",
            "created_at_ns": core.clock.wall_ns(),
            "created_by": actor_of(principal),
        }
        detail = {"name": body.name, "date_from": pack["date_from"], "date_to": pack["date_to"]}
        await evidence.begin(
            pack,
            LedgerEvent("evidence_generated", actor_of(principal), f"evidence:{pack['id']}", "create", detail),
        )
        return Json({"status": "building", "id": pack["id"]}, 202)

    @routes.get("/{pack_id}", summary="One evidence pack with its files")
    async def one_pack(pack_id: str, principal: TrustRead) -> Response:
        pack = await found(pack_id)
        return Json({**listed(pack), "manifest": orjson.loads(pack["manifest"])})

    @routes.get("/{pack_id}/download", summary="The pack as a zip that verifies itself")
    async def download(pack_id: str, principal: TrustRead) -> Response:
        pack = await found(pack_id)
        if "feedback" in orjson.loads(pack["include"]):
            demand(principal, "content:read")
        state = evidence.state(pack)
        if state != "ready":
            raise StockyardError("not_found", f"The pack has no file: it is {state}.")
        return FileResponse(
            evidence.path(pack["id"]),
            media_type="application/zip",
            filename=f"evidence-{pack['id']}.zip",
            headers={"cache-control": "no-store"},
        )

    @routes.delete("/{pack_id}", summary="Remove an evidence pack; the ledger keeps its entry")
    async def delete_pack(pack_id: str, principal: TrustWrite) -> Response:
        pack = await found(pack_id)
        event = LedgerEvent("admin_action", actor_of(principal), f"evidence:{pack['id']}", "delete", {})
        await evidence.remove(pack["id"], event)
        return Json({"status": "deleted", "id": pack["id"]})

    return routes


def _moment(name: str, text: str) -> int:
    try:
        return parse_time(text)
    except ValueError:
        raise StockyardError(
            "invalid_value", f"`{name}` must be RFC 3339 (2026-02-28T14:30:00Z) or a date (2026-02-28).", param=name
        ) from None
