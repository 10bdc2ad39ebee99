"""`/api/observe/traces/{id}/stream`: a recorded stream, as events with their times or played again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from instance.chute.answer import DONE
from instance.chute.modules.other.stream_capture import Replay, replay_of
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.timestamps import rfc3339
from instance.system.auth import require
from instance.system.credentials import demand
from instance.system.json_response import Json

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.core.clock import Clock

Reader = Annotated[Principal, Depends(require("observe:read"))]

GAP_MAX_S = 60.0
"""The longest wait of a replay."""


def stream_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/api/observe", tags=["observe"])

    @router.get("/traces/{id}/stream", summary="A recorded stream, to replay")
    async def stream(
        id: str,
        principal: Reader,
        format: Annotated[
            Literal["json", "sse"], Query(description="Events with their times, or server-sent events.")
        ] = "json",
        speed: Annotated[
            float, Query(ge=0, le=1000, description="Of the replay as sse: 1 is the original pace, 0 all at once.")
        ] = 0.0,
    ) -> Response:
        demand(principal, "content:read")
        found = await chute.core.database.read(lambda connection: replay_of(connection, id, principal.team or ""))
        if found is None:
            raise StockyardError("not_found", f"No stream of a trace {id[:64]!r} was recorded.")
        if format == "json":
            return Json(_shown(found))
        headers = {"cache-control": "no-store"}
        return StreamingResponse(
            _played(found, speed, chute.core.clock), media_type="text/event-stream", headers=headers
        )

    return router


def _shown(replay: Replay) -> dict[str, Any]:
    return {
        "trace_id": replay.trace_id,
        "created_at": rfc3339(replay.created_at_ns),
        "model": replay.model,
        "truncated": replay.truncated,
        "complete": replay.done,
        "events": [{"at_ms": offset / 1000, "choices": choices} for offset, choices in replay.events],
    }


async def _played(replay: Replay, speed: float, clock: Clock) -> AsyncIterator[bytes]:
    before_us = 0
    for number, (offset_us, _) in enumerate(replay.events):
        if speed and offset_us > before_us:
            await clock.sleep(min((offset_us - before_us) / 1e6 / speed, GAP_MAX_S))
        before_us = offset_us
        yield replay.event(number)
    if replay.done and not replay.truncated:
        yield DONE
