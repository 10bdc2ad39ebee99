"""Around every request: an id, a bound on its body, HEAD and OPTIONS, and headers that every answer has."""

from __future__ import annotations

import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.api.answers import error_answer
from control_plane.errors import CloudError
from instance.core import log_lines
from instance.core.ids import new_id

BODY_MAX_BYTES = 4 << 20
UPLOAD_PATH = "/api/tenants"
METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"


class Frame:
    """ASGI middleware. A body over the limit is answered 413 before it is read whole."""

    def __init__(self, app: ASGIApp, *, body_max_bytes: int = BODY_MAX_BYTES) -> None:
        self._app = app
        self._limit = body_max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = sys.maxsize if is_upload(scope) else self._limit  # an upload's handler bounds it, by the caller's plan
        request_id = new_id("req_")
        scope["request_id"] = request_id
        log_lines.request_id.set(request_id)
        headless = scope["method"] == "HEAD"
        received = 0
        answered = False

        async def bounded_receive() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise _TooLarge
            return message

        async def framed_send(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            elif headless and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        if scope["method"] == "OPTIONS":
            await framed_send({"type": "http.response.start", "status": 204, "headers": [(b"allow", METHODS)]})
            await framed_send({"type": "http.response.body", "body": b""})
            return
        if headless:
            scope = {**scope, "method": "GET"}
        try:
            if _declared(scope) > limit:
                raise _TooLarge
            await self._app(scope, bounded_receive, framed_send)
        except _TooLarge:
            if answered:
                raise
            message = f"the body is larger than {limit} bytes"
            error = CloudError("body_too_large", message, headers={"Connection": "close"})
            await error_answer(error, request_id)(scope, receive, framed_send)


def is_upload(scope: Scope) -> bool:
    """True for a form with a file to open a tenant from: its body is not to be held in memory."""
    content_type = dict(scope["headers"]).get(b"content-type", b"")
    form = bool(content_type[:19].lower() == b"multipart/form-data")
    return form and scope["method"] == "POST" and scope["path"] == UPLOAD_PATH


class _TooLarge(BaseException):
    """Passes every handler on its way out: none of them may turn it into another answer."""


def _declared(scope: Scope) -> int:
    """The Content-Length, 0 when there is none to be read."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
