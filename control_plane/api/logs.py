"""What a tenant's instance writes: its last lines, or live as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import orjson
from fastapi import Query, Request
from fastapi.responses import Response, StreamingResponse

from control_plane.api.auth import TenantReader
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import make_router
from control_plane.errors import CloudError
from control_plane.runtimes.protocol import EngineError, Runtime
from control_plane.store import tenants
from instance.core.log_lines import without_keys

router = make_router("tenants")
FOLLOWERS = 32
FOLLOW_MOST_S = 3_600.0
KEEPALIVE_S = 15.0


@router.get("/api/tenants/{slug}/logs", response_model=None)
async def logs(
    slug: str,
    request: Request,
    caller: TenantReader,
    plane: CurrentPlane,
    lines: Annotated[int, Query(ge=1, le=5_000, description="lines from the end")] = 200,
    follow: Annotated[bool, Query(description="go on with those to come, as server-sent events, for an hour")] = False,
) -> dict[str, Any] | Response:
    """The end of the instance's log, oldest line first; what looks like a key is cut out of it."""
    await plane.database.read(lambda connection: tenants.get(connection, slug, account=caller.account))
    if plane.runtime is None:
        raise CloudError("conflict", "no instances are run by this process")
    if not follow:
        found = [without_keys(line) async for line in _read(plane.runtime, slug, lines)]
        return {"lines": found, "count": len(found)}
    followers: set[object] = request.app.state.log_followers
    if len(followers) >= FOLLOWERS:
        raise CloudError("rate_limited", f"at most {FOLLOWERS} logs at once", headers={"Retry-After": "30"})
    return StreamingResponse(followed(plane, plane.runtime, slug, lines, followers), media_type="text/event-stream")


async def _read(runtime: Runtime, slug: str, lines: int) -> AsyncIterator[str]:
    try:
        async for line in runtime.logs(slug, lines=lines, follow=False):
            yield line
    except EngineError as error:
        raise CloudError("tenant_unavailable", f"the log cannot be read: {error}") from None


async def followed(
    plane: Plane, runtime: Runtime, slug: str, lines: int, followers: set[object]
) -> AsyncIterator[bytes]:
    """Lines as they are written, until the caller leaves, the plane ends or the time is over; comments in between."""
    mark = object()
    followers.add(mark)
    written: asyncio.Queue[str | None] = asyncio.Queue(lines)
    reader = asyncio.create_task(_into(written, runtime, slug, lines))
    until = asyncio.get_running_loop().time() + FOLLOW_MOST_S
    quiet_s = 0.0
    try:
        yield b": open\n\n"
        while not plane.ending and asyncio.get_running_loop().time() < until:
            try:
                line = await asyncio.wait_for(written.get(), 1.0)
            except TimeoutError:
                quiet_s += 1.0
                if quiet_s >= KEEPALIVE_S:
                    quiet_s = 0.0
                    yield b": still here\n\n"
                continue
            if line is None:
                return
            quiet_s = 0.0
            yield b"data: %s\n\n" % orjson.dumps(without_keys(line))
    finally:
        reader.cancel()
        followers.discard(mark)


async def _into(written: asyncio.Queue[str | None], runtime: Runtime, slug: str, lines: int) -> None:
    """Read no faster than the caller takes it."""
    try:
        async with aclosing(runtime.logs(slug, lines=lines, follow=True)) as said:  # type: ignore[type-var]
            async for line in said:
                await written.put(line)
    except EngineError as error:
        await written.put(f"the log cannot be read: {error}")
    await written.put(None)
