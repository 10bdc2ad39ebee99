"""`/api/proxy/modules/devproxy`: the calls that are watched, live and afterwards, and what a developer does with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from instance.core.errors import StockyardError
from instance.core.principals import Principal, has_scope
from instance.core.timestamps import rfc3339
from instance.system.audit import changed
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.chute.modules.exchange.devproxy import DevProxy
    from instance.chute.modules.exchange.lens import Lens

Self = Annotated[Principal, Depends(require("self"))]

KEEP_ALIVE_S = 15.0


class SwitchOn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key_id: str | int | None = Field(default=None, description="Whose calls are watched; unset: one's own.")
    for_s: int | None = Field(default=None, ge=1, le=604_800, description="Seconds; unset: `on_for_s`.")
    breakpoint: bool = Field(default=False, description="Hold each call until it is released.")


class Edited(BaseModel):
    model_config = ConfigDict(extra="forbid")

    body: dict[str, Any] | None = Field(default=None, description="The request instead; unset: as it is.")


def debug_router(chute: Chute) -> APIRouter:
    """The routes of this page. Who may not read all calls (proxy:read and content:read) sees those of its own key."""
    core = chute.core
    routes = APIRouter(prefix="/api/proxy/modules/devproxy", tags=["proxy"])

    def proxy() -> DevProxy:
        found: DevProxy | None = core.services.get("devproxy")
        if found is None:
            raise StockyardError("conflict", "The module devproxy is switched off.")
        return found

    def call_of(principal: Principal, trace_id: str) -> Lens:
        lens = proxy().desk.calls.get(trace_id)
        if lens is None or not may_see(principal, lens):
            raise StockyardError("not_found", f"No watched call {trace_id[:64]!r} is kept.")
        return lens

    async def shown(lens: Lens, request: Request) -> dict[str, Any]:
        from instance.chute.modules.exchange.debug_view import view

        return await asyncio.to_thread(view, lens, proxy().redact, str(request.base_url).rstrip("/"))

    @routes.get("/calls")
    async def watched_calls(principal: Self, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
        """The watched calls, the latest first."""
        rows = [_row(lens) for lens in reversed(proxy().desk.calls.values()) if may_see(principal, lens)]
        more = len(rows) > limit
        return {"calls": rows[:limit], "count": min(len(rows), limit), "total": len(rows), "has_more": more}

    @routes.get("/calls/{trace_id}")
    async def watched_call(trace_id: str, principal: Self, request: Request) -> dict[str, Any]:
        """One call: its request, what each module changed, each attempt in the provider's dialect, its answer."""
        return await shown(call_of(principal, trace_id), request)

    @routes.get("/compare")
    async def compare_calls(a: str, b: str, principal: Self, request: Request) -> dict[str, Any]:
        """What differs between two calls: in their requests, what was sent, and what was answered."""
        from instance.chute.modules.exchange.json_changes import json_changes

        one, other = await shown(call_of(principal, a), request), await shown(call_of(principal, b), request)
        sent = [[attempt["request"]["body"] for attempt in each["attempts"]] for each in (one, other)]
        return {
            "request": json_changes(one["request"]["body"], other["request"]["body"]),
            "sent": json_changes(sent[0], sent[1]),
            "answer": json_changes(one["answer"]["body"], other["answer"]["body"]),
            "timings_ms": json_changes(one["timings_ms"], other["timings_ms"]),
        }

    @routes.get("/live")
    async def live_calls(principal: Self) -> StreamingResponse:
        """Server-sent events of watched calls as they run: `start`, `held`, `attempt`, `delta`, `finish`, `lagged`."""
        module = proxy()
        watcher = module.desk.watch()

        async def events() -> AsyncIterator[bytes]:
            try:
                yield b": watching\n\n"
                while True:
                    try:
                        event = await asyncio.wait_for(watcher.events.get(), KEEP_ALIVE_S)
                    except TimeoutError:
                        yield b": keep-alive\n\n"
                        continue
                    if event is None:
                        return
                    name, lens, data = event
                    if watcher.lagged:
                        missed, watcher.lagged = watcher.lagged, 0
                        yield b'event: lagged\ndata: {"missed": %d}\n\n' % missed
                    if may_see(principal, lens):
                        data = {"id": lens.id, **masked(data, module.redact)}
                        yield b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))
            finally:
                module.desk.leave(watcher)

        from instance.chute.modules.exchange.debug_view import masked

        return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-cache"})

    @routes.post("/switch")
    async def switch_on(wanted: SwitchOn, principal: Self) -> dict[str, Any]:
        """Watch all calls of a key for a time, one's own or, with proxy:write, any."""
        module = proxy()
        key_id = str(principal.key_id if wanted.key_id is None else wanted.key_id)
        _may_switch(principal, key_id, module.settings.keys)
        if wanted.breakpoint and not module.settings.breakpoints:
            raise StockyardError("conflict", "The setting `breakpoints` is off.", param="breakpoint")
        until = module.desk.switch_on(key_id, wanted.for_s or module.settings.on_for_s)
        (module.desk.breakpoints.add if wanted.breakpoint else module.desk.breakpoints.discard)(key_id)
        await core.writer.write(lambda connection: None, [changed(principal, f"devproxy:{key_id}", "switch_on")])
        return {"status": "on", "key_id": key_id, "until": rfc3339(until), "breakpoint": wanted.breakpoint}

    @routes.delete("/switch/{key_id}")
    async def switch_off(key_id: str, principal: Self) -> dict[str, Any]:
        """Watch a key's calls no longer."""
        module = proxy()
        _may_switch(principal, key_id, [])
        module.desk.switch_off(key_id)
        await core.writer.write(lambda connection: None, [changed(principal, f"devproxy:{key_id}", "switch_off")])
        return {"status": "off", "key_id": key_id}

    @routes.post("/calls/{trace_id}/release")
    async def release_call(trace_id: str, edited: Edited, principal: Self) -> dict[str, Any]:
        """Let a call go on that is held at a breakpoint, as it is or as it was edited."""
        lens = call_of(principal, trace_id)
        if not proxy().desk.release(lens.id, edited.body):
            raise StockyardError("conflict", "The call is not held.")
        return {"status": "released", "id": trace_id, "edited": edited.body is not None}

    @routes.post("/calls/{trace_id}/send")
    async def send_again(trace_id: str, edited: Edited, principal: Self) -> dict[str, Any]:
        """Make the call anew, as it was or edited, for the key that asks; it is watched as well."""
        lens = call_of(principal, trace_id)
        if not principal.may_call:
            raise StockyardError("scope_missing", "Sending a call needs proxy:call.", details={"scope": "proxy:call"})
        if lens.x.operation.multipart:
            raise StockyardError("conflict", "A form with files is not kept, so it cannot be sent again.")
        from instance.chute.modules.exchange.devproxy import HEADER
        from instance.chute.own_call import NOT_PASSED_ON, OwnCall, make_call

        module = proxy()
        headers = {name: value for name, value in lens.x.headers.items() if name not in NOT_PASSED_ON}
        headers[HEADER] = b"1"
        body = lens.x.raw if edited.body is None else orjson.dumps(edited.body)
        own = OwnCall(principal, begin=module.watch_for(lens.x.client_ip))
        answer = await make_call(chute, lens.x.path, body, headers, own)
        return {"status": "sent", "id": answer.trace_id, "http_status": answer.status}

    return routes


def may_see(principal: Principal, lens: Lens) -> bool:
    """Its own calls, or all (of its team) with the scopes to read them."""
    if str(principal.key_id) == lens.key_id:
        return True
    if not (has_scope(principal, "proxy:read") and has_scope(principal, "content:read")):
        return False
    return not principal.team or principal.team == lens.team


def _may_switch(principal: Principal, key_id: str, keys: list[str]) -> None:
    if has_scope(principal, "proxy:write"):
        return
    if str(principal.key_id) != key_id or (keys and key_id not in keys and principal.name not in keys):
        raise StockyardError("forbidden", "Only a key with proxy:write may switch this on.")


def _row(lens: Lens) -> dict[str, Any]:
    row = lens.summary()
    return {**row, "started_at": rfc3339(row.pop("started_at_ns"))}
