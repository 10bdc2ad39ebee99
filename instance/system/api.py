"""The FastAPI application with the routes of every app. Imported on first use: see `Gateway.api`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from instance.core.errors import StockyardError, error_body
from instance.system import config_routes, key_routes, status_routes
from instance.system.auth import admitted
from instance.system.json_response import Json
from instance.system.management_rate import ManagementRate
from instance.system.raw_routes import RAW_OPERATIONS
from instance.system.validation import invalid
from instance.version import VERSION

if TYPE_CHECKING:
    from instance.server import Instance

MOVED = {
    "control plane": (
        "/api/checkout",
        "/api/portal",
        "/webhooks/stripe",
        "/api/license/validate",
        "/api/license/lookup",
        "/api/cloud/",
        "/api/admin/",
    ),
    "nowhere": ("/api/marketing/", "/sitemap.xml", "/site-assets/", "/install"),
}

log = logging.getLogger("stockyard.api")


def build_api(instance: Instance) -> FastAPI:
    """The application for everything but `/v1`, `/health`, `/ready` and `/api/instance`."""
    api = FastAPI(title="Stockyard", version=VERSION, openapi_url=None, docs_url=None, redoc_url=None)
    api.state.core = instance.core
    api.state.open_principal = instance.open_principal
    api.state.trusted_proxies = instance.chute.trusted_proxies
    api.state.management_rate = ManagementRate()
    for router in (
        status_routes.router(instance),
        key_routes.router(instance),
        config_routes.router(instance),
        instance.brand.router(),
        instance.lookout.router(),
        instance.chute.router(),
        instance.tack_room.router(),
        instance.memory.router(),
        instance.forge.router(),
    ):
        api.router.routes += router.routes  # including a router would analyse each of its routes a second time
    api.add_exception_handler(StockyardError, _refused)
    api.add_exception_handler(RequestValidationError, _bad_fields)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(Exception, _fault)

    @api.get("/api/openapi.json", summary="The description of this API", tags=["system"])
    async def openapi(request: Request) -> Json:
        if not instance.core.settings.public_docs:
            admitted(request, "config:read")
        document = described(api)
        prefix = request.scope.get("root_path", "")
        return Json({**document, "servers": [{"url": prefix}]} if prefix else document)

    return api


def described(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of everything that the instance serves; made once."""
    if api.openapi_schema is not None:
        return api.openapi_schema
    document = get_openapi(title=api.title, version=api.version, routes=api.routes)
    paths = document.setdefault("paths", {})
    for operation in RAW_OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = operation.described()
    api.openapi_schema = document
    return document


async def _refused(request: Request, error: Exception) -> Json:
    assert isinstance(error, StockyardError)
    return _answer(request, error)


async def _bad_fields(request: Request, error: Exception) -> Json:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    if problems and problems[0]["type"] == "json_invalid":
        reason = problems[0].get("ctx", {}).get("error", "")
        return _answer(request, StockyardError("invalid_json", f"The body is not valid JSON: {reason}."))
    return _answer(request, invalid(problems, _known_names(request)))


async def _http_error(request: Request, error: Exception) -> Json:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        allowed = _allowed_methods(request)
        names = ", ".join(allowed)
        return _answer(request, StockyardError("method_not_allowed", f"Use {names}.", headers={"Allow": names}))
    if error.status_code == 404:
        owner = next((owner for owner, paths in MOVED.items() if path.startswith(paths)), None)
        details = {"moved_to": owner} if owner else None
        return _answer(request, StockyardError("not_found", f"There is no {path} here.", details=details))
    return _answer(request, StockyardError("bad_request", str(error.detail), status=error.status_code))


async def _fault(request: Request, error: Exception) -> Json:
    request_id = request.scope["state"]["request_id"]
    log.error("%s %s (%s) failed here", request.method, request.url.path, request_id, exc_info=error)
    return _answer(
        request, StockyardError("internal_error", f"Something failed here; the log has it under {request_id}.")
    )


def _answer(request: Request, error: StockyardError) -> Json:
    return Json(error_body(error, request.scope["state"]["request_id"]), error.status, error.headers)


def _allowed_methods(request: Request) -> list[str]:
    api: FastAPI = request.app
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    methods: set[str] = set()
    for template, operations in described(api)["paths"].items():
        if compile_path(template)[0].match(path):
            methods |= {method.upper() for method in operations}
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)


def _known_names(request: Request) -> list[str]:
    """The names that the route's query and body know."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    if dependant is None:
        return []
    names: list[str] = []
    for parameter in (*dependant.query_params, *dependant.body_params):
        fields = getattr(parameter.field_info.annotation, "model_fields", None)
        if fields is None:
            names.append(parameter.alias)
        else:
            names += [field.alias or name for name, field in fields.items()]
    return names
