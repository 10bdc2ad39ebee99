"""Turns every refusal and accident into the one error shape, with the right status and headers."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from control_plane.api.routing import methods_at
from control_plane.errors import CloudError

log = logging.getLogger(__name__)
BY_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
UNREADABLE = {"json_invalid", "model_attributes_type", "dict_type"}


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def error_answer(error: CloudError, request_id: str) -> Response:
    """The response of a refusal."""
    return json_answer(error.body(request_id), error.status, error.headers)


def install(app: FastAPI) -> None:
    """Register the handlers."""

    def answer(request: Request, error: CloudError) -> Response:
        return error_answer(error, request.scope.get("request_id", ""))

    @app.exception_handler(CloudError)
    async def refused(request: Request, error: CloudError) -> Response:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, explain(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = BY_STATUS.get(error.status_code, "bad_request")
        if code == "method_not_allowed":
            allowed = methods_at(request.app.router.routes, request.url.path)
            message = f"{request.method} is not served here; allowed: {allowed}"
            return answer(request, CloudError(code, message, headers={"Allow": allowed}))
        if code == "not_found":
            return answer(request, CloudError(code, f"nothing is served at {request.url.path}"))
        return answer(request, CloudError(code, str(error.detail)))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        request_id = request.scope.get("request_id", "")
        log.error("request %s failed", request_id, exc_info=error)
        message = f"something went wrong on our side; report the request id {request_id}"
        return answer(request, CloudError("internal_error", message))


def explain(error: RequestValidationError) -> CloudError:
    """What is wrong with the request's fields: the first in the message, all of them in `details`."""
    details: list[dict[str, str]] = []
    for each in error.errors():
        place = [str(part) for part in each["loc"] if part not in ("body", "query", "path")]
        if each["type"] == "json_invalid":
            return CloudError("invalid_json", "the body is not valid JSON")
        if each["type"] in UNREADABLE and not place:
            return CloudError("bad_request", "the body must be a JSON object, sent as application/json")
        code = "missing_field" if each["type"] == "missing" else "invalid_value"
        message = each["msg"].removeprefix("Value error, ")
        details.append({"param": ".".join(place) or "body", "code": code, "message": message})
    first = details[0]
    return CloudError(first["code"], f"{first['param']}: {first['message']}", param=first["param"], details=details)
