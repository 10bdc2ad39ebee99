"""Liveness, readiness and metrics."""

from __future__ import annotations

from typing import Any

from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from control_plane.api.answers import json_answer
from control_plane.api.auth import Operator
from control_plane.api.plane import CurrentPlane
from control_plane.api.routing import make_router
from control_plane.metrics.scrape import scrape
from control_plane.store import tenants
from control_plane.version import VERSION

router = make_router("system")


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers; public."""
    return {"status": "ok", "version": VERSION}


@router.get("/ready", response_model=None)
async def ready(plane: CurrentPlane) -> dict[str, Any] | Response:
    """The database answers and the loop runs; 503 says which does not."""
    await plane.database.read(tenants.count_by_status)
    if plane.reconciler is None:
        return json_answer({"status": "not_ready", "waiting_for": ["reconciler"]}, 503)
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(caller: Operator, plane: CurrentPlane) -> Response:
    """Prometheus text; what each metric means stands in it."""
    return Response(await scrape(plane), media_type=CONTENT_TYPE_LATEST)
