"""`/api/status`, `/api/version`, `/api/apps` and `/metrics`."""

from __future__ import annotations

import platform
from time import monotonic
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from instance.brand.ledger import head
from instance.core.errors import StockyardError
from instance.core.migrate import schema_version
from instance.core.principals import has_scope
from instance.lookout.costs import totals_ever
from instance.system import apps, process_facts
from instance.system.auth import admitted
from instance.system.client_wall import require_within
from instance.system.credentials import identify, presented_key
from instance.system.embedder_state import embedder_component
from instance.system.health import STARTED_AT, readiness
from instance.system.json_response import Json
from instance.system.metrics import TEXT_FORMAT, exposition
from instance.version import VERSION

if TYPE_CHECKING:
    from instance.server import Instance


def router(instance: Instance) -> APIRouter:
    """The routes of one instance."""
    routes = APIRouter(tags=["system"])
    core = instance.core

    @routes.get("/api/version", summary="This program's version and the database's")
    async def version() -> Json:
        return Json({"version": VERSION, "commit": None, "schema": await core.database.read(schema_version)})

    @routes.get("/api/apps", summary="The nine apps")
    async def list_apps() -> Json:
        return Json({"apps": apps.listed(), "count": len(apps.APPS)})

    @routes.get("/api/products", summary="The nine apps, under the original's name")
    async def list_products() -> Json:
        return Json({"products": apps.listed(), "count": len(apps.APPS)})

    @routes.get("/api/products/{slug}", summary="One app, under the original's name")
    async def one_product(slug: str) -> Json:
        for app in apps.listed():
            if app["slug"] == slug:
                return Json(app)
        raise StockyardError("not_found", f"There is no app {slug!r}.")

    @routes.get("/api/status", summary="How the instance is; without a key only status and version")
    async def status(request: Request) -> Json:
        checks = await readiness(instance)
        brief = {"status": "healthy" if all(checks.values()) else "down", "version": VERSION}
        if instance.open_principal is None and not presented_key(request.scope["headers"]):
            return Json(brief)
        admitted(request, "config:read")
        return Json(brief | await _whole(instance, checks))

    @routes.get("/metrics", summary="Prometheus text")
    async def metrics(request: Request) -> Response:
        if not core.settings.metrics_public and instance.open_principal is None:
            principal = identify(core, request.scope["headers"])
            if not has_scope(principal, "config:read"):
                raise StockyardError("scope_missing", "This key lacks the scope config:read.")
            require_within(principal, request.scope)
        seq, _ = await core.database.read(head)
        return Response(exposition(instance, seq), media_type=TEXT_FORMAT, headers={"cache-control": "no-store"})

    return routes


async def _whole(instance: Instance, checks: dict[str, bool]) -> dict[str, Any]:
    core, chute = instance.core, instance.chute
    ever = await core.database.read(totals_ever)
    uptime_s = monotonic() - STARTED_AT
    verified = instance.brand.verifier.last
    return {
        "uptime": f"{int(uptime_s // 3600)}h{int(uptime_s % 3600 // 60)}m{int(uptime_s % 60)}s",
        "uptime_seconds": round(uptime_s, 3),
        "python_version": platform.python_version(),
        "total_requests": ever.requests,
        "total_errors": ever.errors,
        "error_rate": round(ever.errors / ever.requests, 6) if ever.requests else 0.0,
        "avg_latency_ms": round(ever.duration_us / ever.requests / 1000, 3) if ever.requests else 0.0,
        "overhead_p50_us": chute.overhead.quantile_us(0.5),
        "overhead_p99_us": chute.overhead.quantile_us(0.99),
        "in_flight": chute.in_flight,
        **process_facts.described(),
        "database_size_mb": round(core.database.size_bytes() / 2**20, 3),
        "journal": {"bytes": core.writer.lag_bytes, "lag_ms": core.writer.lag_ms},
        "disk_free_bytes": process_facts.free_bytes(core.database.path.parent),
        "embedder": embedder.report() if (embedder := core.services.get("embedder")) is not None else None,
        "health": _health(core.services),
        "components": {
            "database": _component(checks["database"]),
            "modules": _component(checks["plan"]),
            "observe": _component(True),
            "trust": _component(verified is None or verified["valid"], "" if verified else "not verified yet"),
            "providers": _component(True, _providers(core.services)),
            "embedder": _component(*embedder_component(core.services)),
            "webhooks": _component(True, "not built yet"),
            "journal": _component(checks["journal"], core.journal.reason),
            "backup": _component(True, "by the control plane" if core.hosted else "stockyard backup"),
        },
    }


def _providers(services: dict[str, Any]) -> str:
    """Which providers and targets are not well, in words; empty when nothing is known against any."""
    health = services.get("health")
    rows = health.rows() if health is not None else []
    return "; ".join(f"{row['target']} is {row['state'].replace('_', ' ')}: {row['reason']}" for row in rows[:10])


def _health(services: dict[str, Any]) -> dict[str, Any]:
    """What the modules healthcheck and circuitbreaker know of targets; empty lists while they are off."""
    health, breakers = services.get("health"), services.get("breakers")
    return {
        "not_healthy": health.rows() if health is not None else [],
        "changes": list(health.changes) if health is not None else [],
        "circuits": breakers.rows() if breakers is not None else [],
        "circuit_changes": list(breakers.changes) if breakers is not None else [],
    }


def _component(healthy: bool, detail: str = "") -> dict[str, str]:
    return {"status": "ok" if healthy else "down", "detail": detail}
