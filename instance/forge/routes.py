"""`/api/forge/batch`: calls that may wait. One's own batches are seen with any key, all of them with forge:read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from instance.chute.client_address import client_address
from instance.core.errors import StockyardError
from instance.core.money import usd_to_nano
from instance.core.principals import Principal, has_scope
from instance.core.writer import LedgerEvent
from instance.forge import store
from instance.forge.batch import Batch
from instance.forge.batch_callback import checked_url
from instance.forge.batch_runner import SEAL
from instance.forge.job_call import result_line
from instance.forge.submission import Submission, jobs_of, read_lines
from instance.system.audit import changed
from instance.system.auth import require
from instance.system.json_response import Json
from instance.system.validation import invalid

if TYPE_CHECKING:
    from instance.forge.app import Forge

Self = Annotated[Principal, Depends(require("self"))]
Runner = Annotated[Principal, Depends(require("forge:run"))]
Reader = Annotated[Principal, Depends(require("forge:read"))]

PAGE = 200
SUBMISSION_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": Submission.model_json_schema()},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


def router(forge: Forge) -> APIRouter:
    """The routes of one Forge."""
    routes = APIRouter(prefix="/api/forge", tags=["forge"])
    core = forge.core
    read = core.database.read

    async def found(principal: Principal, batch_id: str, scope: str) -> tuple[Batch, store.Counts]:
        row: tuple[Batch, store.Counts] | None = await read(lambda connection: store.one(connection, batch_id))
        if row is None or not _may(principal, row[0], scope):
            raise StockyardError("not_found", f"There is no batch {batch_id[:64]!r}.")
        return row

    def lines(results: list[store.Result]) -> list[dict[str, Any]]:
        return [
            result_line(
                each.custom_id,
                each.status,
                core.secrets.open(each.answer, SEAL) if each.answer is not None else None,
                each.trace_id,
            )
            for each in results
        ]

    @routes.get("/batch", summary="List batches")
    async def list_batches(
        principal: Self,
        status: Annotated[str, Query(pattern="^(queued|running|done|failed|cancelled)?$")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> Json:
        key_id = "" if has_scope(principal, "forge:read") else str(principal.key_id)
        rows, total = await read(
            lambda connection: store.listed(
                connection, team=principal.team, key_id=key_id, status=status, limit=limit, offset=offset
            )
        )
        shown = [batch.shown(*counts) for batch, counts in rows]
        more = offset + len(rows) < total
        return Json({"jobs": shown, "count": len(shown), "total": total, "has_more": more, "next_cursor": None})

    @routes.post("/batch", status_code=202, summary="Queue calls", openapi_extra=SUBMISSION_BODY)
    async def submit(principal: Runner, request: Request) -> Json:
        raw = await request.body()
        if request.headers.get("content-type", "").split(";")[0].strip() in (
            "application/x-ndjson",
            "application/jsonl",
        ):
            wanted = _read_query(request, read_lines(raw))
        else:
            wanted = _read_json(raw)
        given = [{"custom_id": "1", "body": wanted.input}] if wanted.input is not None else wanted.requests or []
        if wanted.input is not None and wanted.requests is not None:
            raise StockyardError("invalid_value", "Give `input` or `requests`, not both.", param="input")
        jobs = jobs_of(wanted.type, given)
        if not principal.may_call:
            raise StockyardError("scope_missing", "Calls need proxy:call.", details={"scope": "proxy:call"})
        secret = token_hex(24) if wanted.callback_url else ""
        batch = await forge.submit(
            principal,
            jobs,
            kind=wanted.type,
            priority=wanted.rank,
            team=principal.team,
            client_ip=client_address(
                request.scope.get("client"), dict(request.scope["headers"]), request.app.state.trusted_proxies
            ),
            single=wanted.input is not None,
            max_attempts=wanted.max_attempts,
            concurrency=wanted.concurrency,
            max_cost_nano=usd_to_nano(wanted.max_cost_usd) if wanted.max_cost_usd else 0,
            callback_url=checked_url(wanted.callback_url) if wanted.callback_url else "",
            callback_secret=secret.encode(),
        )
        answer = {"status": "queued", "id": batch.id, "total": batch.total}
        return Json({**answer, "callback_secret": secret} if secret else answer, 202)

    @routes.get("/batch/{batch_id}", summary="One batch; of a single call its answer too")
    async def one_batch(batch_id: str, principal: Self) -> Json:
        batch, counts = await found(principal, batch_id, "forge:read")
        shown = batch.shown(*counts)
        if batch.single:
            results = await read(lambda connection: store.results(connection, batch_id, -1, 1))
            line = lines(results)[0] if results else {}
            may_read = str(principal.key_id) == batch.key_id or has_scope(principal, "content:read")
            shown["output"] = line.get("response") if may_read else None
            shown["error"] = line.get("error")
            shown["trace_id"] = line.get("trace_id")
        return Json(shown)

    @routes.get("/batch/{batch_id}/results", summary="The answers as NDJSON", response_class=StreamingResponse)
    async def batch_results(batch_id: str, principal: Self) -> StreamingResponse:
        batch, _ = await found(principal, batch_id, "forge:read")
        if str(principal.key_id) != batch.key_id and not has_scope(principal, "content:read"):
            raise StockyardError("scope_missing", "Answers need content:read.", details={"scope": "content:read"})

        async def pages() -> AsyncIterator[bytes]:
            after = -1
            while True:
                page = await read(partial(store.results, batch_id=batch_id, after=after, limit=PAGE))
                if not page:
                    return
                after = page[-1].n
                shown = await asyncio.to_thread(lines, page)
                yield b"".join(orjson.dumps(line) + b"\n" for line in shown)

        return StreamingResponse(pages(), media_type="application/x-ndjson")

    @routes.post("/batch/{batch_id}/cancel", summary="Run no more of a batch")
    async def cancel(batch_id: str, principal: Runner) -> Json:
        batch, _ = await found(principal, batch_id, "forge:write")
        if batch.completed_at_ns:
            raise StockyardError("conflict", f"The batch has ended already: it is {batch.status}.")
        await forge.queue().cancel(batch_id)
        await core.writer.write(lambda connection: None, [_event(principal, batch_id, "cancel")])
        return Json({"status": "cancelled", "id": batch_id})

    @routes.post("/batch/{batch_id}/pause", summary="Start no more of a batch for now")
    async def pause(batch_id: str, principal: Runner) -> Json:
        return await paused(batch_id, principal, True)

    @routes.post("/batch/{batch_id}/resume", summary="Go on with a batch")
    async def resume(batch_id: str, principal: Runner) -> Json:
        return await paused(batch_id, principal, False)

    async def paused(batch_id: str, principal: Principal, wanted: bool) -> Json:
        batch, _ = await found(principal, batch_id, "forge:write")
        if batch.completed_at_ns:
            raise StockyardError("conflict", f"The batch has ended already: it is {batch.status}.")
        event = _event(principal, batch_id, "pause" if wanted else "resume")
        await core.writer.write(lambda connection: store.pause(connection, batch_id, wanted), [event])
        forge.queue().paused(batch_id, wanted)
        return Json({"status": "paused" if wanted else "resumed", "id": batch_id})

    @routes.delete("/batch/{batch_id}", summary="Forget a batch and its answers")
    async def delete(batch_id: str, principal: Self) -> Json:
        batch, _ = await found(principal, batch_id, "forge:write")
        if not batch.completed_at_ns:
            await forge.queue().cancel(batch_id)
        event = _event(principal, batch_id, "delete")
        await core.writer.write(lambda connection: store.delete(connection, batch_id), [event])
        return Json({"status": "deleted", "id": batch_id})

    @routes.get("/status", summary="Forge at a glance")
    async def status(_: Reader) -> Json:
        runner = forge.runner
        return Json(
            {
                "app": "forge",
                "status": "ok" if runner is not None else "off",
                "workflows": 0,
                "runs": 0,
                "running": runner.running if runner is not None else 0,
                "tools": 0,
                "sessions": 0,
                "queued_jobs": runner.queued if runner is not None else 0,
                "next_schedule_at": None,
            }
        )

    return routes


def _may(principal: Principal, batch: Batch, scope: str) -> bool:
    if principal.team and principal.team != batch.team:
        return False
    return str(principal.key_id) == batch.key_id or has_scope(principal, scope)


def _event(principal: Principal, batch_id: str, action: str) -> LedgerEvent:
    return changed(principal, f"batch:{batch_id}", action)


def _read_json(raw: bytes) -> Submission:
    try:
        return Submission.model_validate(orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise StockyardError("invalid_json", f"The body is not valid JSON: {error}.") from None
    except ValidationError as error:
        problems = [{**row, "loc": ("body", *row["loc"])} for row in error.errors(include_input=False)]
        raise invalid(problems, list(Submission.model_fields)) from None


def _read_query(request: Request, requests: list[Any]) -> Submission:
    """A batch whose lines are the body: all else is in the query."""
    try:
        return Submission.model_validate({**request.query_params, "requests": requests})
    except ValidationError as error:
        problems = [{**row, "loc": ("query", *row["loc"])} for row in error.errors(include_input=False)]
        raise invalid(problems, list(Submission.model_fields)) from None
