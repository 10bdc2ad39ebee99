"""What happened to a tenant and why: as a list, or live as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import Header, Request
from fastapi.responses import Response, StreamingResponse

from control_plane.api.auth import TenantReader
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import Cursor, Limit, Offset, make_router
from control_plane.api.shapes import list_shape
from control_plane.errors import CloudError
from control_plane.store import tenants
from control_plane.store.record import events_after, events_of

router = make_router("tenants")
CLIENTS = 256
KEEPALIVE_S = 15.0
BATCH = 200


@router.get("/api/tenants/{slug}/events", response_model=None)
async def list_events(
    slug: str,
    request: Request,
    caller: TenantReader,
    plane: CurrentPlane,
    limit: Limit = 50,
    offset: Offset = 0,
    cursor: Cursor = None,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> dict[str, Any] | Response:
    """Newest first; with `Accept: text/event-stream` a stream of those to come (after `Last-Event-ID`, if given)."""
    begin = offset if cursor is None else cursor

    def read(connection: Any) -> tuple[list[dict[str, Any]], int]:
        tenants.get(connection, slug, account=caller.account)
        return events_of(connection, slug, limit=limit, offset=begin)

    rows, total = await plane.database.read(read)
    if "text/event-stream" not in accept:
        return list_shape("events", rows, total, begin)
    streams: set[object] = request.app.state.event_streams
    if len(streams) >= CLIENTS:
        raise CloudError("rate_limited", f"at most {CLIENTS} streams at once", headers={"Retry-After": "10"})
    after = last_event_id if last_event_id is not None else max((row["id"] for row in rows), default=0)
    return StreamingResponse(live(plane, slug, after, streams), media_type="text/event-stream")


async def live(plane: Plane, slug: str, after: int, streams: set[object]) -> AsyncIterator[bytes]:
    """Events with an id beyond `after` as they are written; a comment when there is none for a while."""
    mark = object()
    streams.add(mark)
    try:
        yield b": open\n\n"
        while not plane.ending:
            seen = plane.database.changed.count
            rows = await plane.database.read(partial(events_after, tenant=slug, after=after, limit=BATCH))
            for row in rows:
                after = row["id"]
                yield b"id: %d\nevent: %s\ndata: %s\n\n" % (after, row["kind"].encode(), orjson.dumps(row))
            if not rows and await plane.database.changed.wait(seen, KEEPALIVE_S) == seen:
                yield b": still here\n\n"
    finally:
        streams.discard(mark)
