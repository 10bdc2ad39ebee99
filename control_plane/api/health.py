"""Liveness, readiness and metrics."""

from __future__ import annotations

import time
from typing import Any

from fastapi.responses import PlainTextResponse, Response

from control_plane.api.answers import json_answer
from control_plane.api.auth import Operator
from control_plane.api.plane import CurrentPlane
from control_plane.api.routing import make_router
from control_plane.domain.tenants import Status
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
async def metrics(caller: Operator, plane: CurrentPlane) -> str:
    """Prometheus text."""
    counts = await plane.database.read(tenants.count_by_status)
    lines = ["# HELP stockyard_cloud_tenants Tenants by status.", "# TYPE stockyard_cloud_tenants gauge"]
    lines += [f'stockyard_cloud_tenants{{status="{status}"}} {counts.get(status, 0)}' for status in Status]
    lines += ["# HELP stockyard_cloud_uptime_seconds Seconds since the control plane started."]
    lines += ["# TYPE stockyard_cloud_uptime_seconds gauge"]
    lines += [f"stockyard_cloud_uptime_seconds {time.time() - plane.started_at:.3f}"]
    return "\n".join(lines) + "\n"
