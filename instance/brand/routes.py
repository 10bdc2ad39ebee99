"""`/api/trust/*`: the ledger over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi import Query as QueryParameters
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from instance.brand import store
from instance.brand.chain import DETAIL_MAX_BYTES, canonical, require_canonical
from instance.brand.export import export_csv, export_lines
from instance.brand.ledger import head
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.timestamps import rfc3339
from instance.core.writer import LedgerEvent
from instance.system.audit import actor_of
from instance.system.auth import admitted, require
from instance.system.json_response import Json
from instance.system.listing import LongListQuery, Period, Query, envelope, read_cursor, write_cursor

if TYPE_CHECKING:
    from instance.brand.app import Brand

TrustRead = Annotated[Principal, Depends(require("trust:read"))]
TrustWrite = Annotated[Principal, Depends(require("trust:write"))]

INTERNAL_EVENT_TYPES = frozenset(
    (
        "seal",
        "restore",
        "proxy_request",
        "policy_violation",
        "safety_block",
        "admin_action",
        "config_change",
        "module_toggled",
        "key_event",
        "auth_failure",
        "evidence_generated",
        "feedback",
        "forge_event",
        "exchange_event",
        "billing_event",
        "anchor",
    )
)


class Filters(BaseModel):
    """What narrows a list or an export of entries."""

    event_type: Annotated[str | None, Field(max_length=64)] = None
    actor: Annotated[str | None, Field(max_length=256)] = None
    resource: Annotated[str | None, Field(max_length=256)] = None
    action: Annotated[str | None, Field(max_length=256)] = None
    trace_id: Annotated[str | None, Field(max_length=64)] = None
    from_seq: Annotated[int | None, Field(ge=1, le=2**53)] = None
    to_seq: Annotated[int | None, Field(ge=1, le=2**53)] = None


class LedgerQuery(LongListQuery, Filters):
    format: Literal["json", "ndjson"] = "json"


class ExportQuery(Period, Filters):
    format: Literal["ndjson", "csv"] = "ndjson"


class VerifyQuery(Query):
    from_seq: Annotated[int | None, Field(ge=1, le=2**53)] = None
    to_seq: Annotated[int | None, Field(ge=1, le=2**53)] = None


class OwnEntry(BaseModel):
    """An entry that a caller appends."""

    model_config = ConfigDict(extra="forbid")

    action: Annotated[str, Field(min_length=1, max_length=256)]
    event_type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")] = "external"
    actor: Annotated[str, Field(max_length=256, description="Kept with the prefix `ext:`.")] = ""
    resource: Annotated[str, Field(max_length=256)] = ""
    detail: dict[str, Any] = {}
    trace_id: Annotated[str | None, Field(max_length=64)] = None


def router(brand: Brand) -> APIRouter:
    """The routes of one Brand."""
    routes = APIRouter(prefix="/api/trust", tags=["trust"])
    core = brand.core

    def narrowed(query: Filters, period: Period) -> store.LedgerFilter:
        start, end = period.bounds_ns(core.clock.wall_ns())
        return store.LedgerFilter(
            **query.model_dump(include=set(Filters.model_fields)),
            created_from=rfc3339(start) if start is not None else None,
            created_to=rfc3339(end) if end is not None else None,
        )

    @routes.get("/ledger", summary="List the ledger's entries")
    async def list_entries(query: Annotated[LedgerQuery, QueryParameters()], principal: TrustRead) -> Response:
        chosen = narrowed(query, query)
        if query.format == "ndjson":
            return StreamingResponse(export_lines(core, brand.signer, chosen), media_type="application/x-ndjson")
        after = read_cursor(query.cursor, 1)[0] if query.cursor else None
        rows = await core.database.read(
            lambda connection: store.entries(
                connection,
                chosen,
                limit=query.limit + 1,
                offset=0 if after is not None else query.offset,
                ascending=query.order == "asc",
                after=after,
            )
        )
        total, capped = await core.database.read(lambda connection: store.total(connection, chosen))
        seq, own_hash = await core.database.read(head)
        shown = rows[: query.limit]
        more = write_cursor(shown[-1][0]) if len(rows) > query.limit else None
        events = [store.entry_of(row) for row in shown]
        newest = {"seq": seq, "hash": own_hash.hex()}
        return Json(envelope("events", events, total=total, capped=capped, next_cursor=more, head=newest))

    @routes.post("/ledger", status_code=201, summary="Append an entry of your own")
    async def append_entry(entry: OwnEntry, principal: TrustWrite) -> Response:
        if entry.event_type in INTERNAL_EVENT_TYPES:
            message = (
                f"The event type {entry.event_type!r} is written by Stockyard only; use `external` or one of your own."
            )
            raise StockyardError("invalid_value", message, param="event_type")
        try:
            require_canonical(entry.detail)
        except ValueError as problem:
            raise StockyardError("invalid_value", f"{problem}.", param="detail") from None
        if len(orjson.dumps(entry.detail)) > DETAIL_MAX_BYTES:
            message = f"`detail` is larger than {DETAIL_MAX_BYTES} bytes; store the text elsewhere and its digest here."
            raise StockyardError("invalid_value", message, param="detail")
        actor = f"ext:{entry.actor}" if entry.actor else actor_of(principal)
        event = LedgerEvent(entry.event_type, actor, entry.resource, entry.action, entry.detail, entry.trace_id)

        def append(connection: Any) -> dict[str, Any]:
            (seq,) = brand.ledger.append(connection, [event])
            row = store.one(connection, seq)
            assert row is not None
            return store.entry_of(row)

        appended = await core.writer.write(append)
        return Json({"status": "appended", **appended}, 201)

    async def verify(query: Annotated[VerifyQuery, QueryParameters()], principal: TrustRead) -> Response:
        return Json(await brand.verifier.verify(query.from_seq, query.to_seq))

    routes.get("/ledger/verify", summary="Walk the chain and say whether it holds")(verify)
    routes.get("/verify", summary="The same as /api/trust/ledger/verify")(verify)

    @routes.get("/ledger/head", summary="The newest hash, signed; public when publish_head is on")
    async def newest(request: Request) -> Response:
        if not core.settings.publish_head:
            admitted(request, "trust:read")
        await brand.signer.ready()
        seq, own_hash = await core.database.read(head)
        return Json(
            {
                "seq": seq,
                "hash": own_hash.hex(),
                "at": rfc3339(core.clock.wall_ns()),
                "signature": brand.signer.sign_head(seq, own_hash.hex()),
                "public_key": brand.signer.public_key,
                "algorithm": "Ed25519",
            }
        )

    @routes.get("/ledger/{seq}", summary="One entry, with the bytes that were hashed")
    async def one_entry(seq: int, principal: TrustRead) -> Response:
        row = await core.database.read(lambda connection: store.one(connection, seq)) if 0 < seq < 2**53 else None
        if row is None:
            raise StockyardError("not_found", f"The ledger has no entry {seq}.")
        entry = store.entry_of(row)
        proof = {"prev_hash": entry["prev_hash"], "hash": entry["hash"]}
        return Json({**entry, "canonical": canonical(store.chained_of(row)).decode(), "proof": proof})

    @routes.get("/export", summary="Export entries as a file that verifies offline")
    async def export(query: Annotated[ExportQuery, QueryParameters()], principal: TrustRead) -> Response:
        chosen = narrowed(query, query)
        if query.format == "csv":
            lines, media_type = export_csv(core, chosen), "text/csv; charset=utf-8"
        else:
            lines, media_type = export_lines(core, brand.signer, chosen), "application/x-ndjson"
        headers = {"content-disposition": f'attachment; filename="ledger.{query.format}"', "cache-control": "no-store"}
        return StreamingResponse(lines, media_type=media_type, headers=headers)

    @routes.get("/status", summary="Brand at a glance")
    async def status(principal: TrustRead) -> Response:
        seq, own_hash = await core.database.read(head)
        last = brand.verifier.last
        return Json(
            {
                "app": "trust",
                "status": "ok" if last is None or last["valid"] else "broken",
                "ledger_events": seq,
                "head": {"seq": seq, "hash": own_hash.hex()},
                "chain_valid": last["valid"] if last else None,
                "last_verified_at": last["verified_at"] if last else None,
                "writer_lag_ms": core.writer.lag_ms,
            }
        )

    return routes
