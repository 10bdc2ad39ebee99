"""The one ASGI application: calls go to the proxy, what must answer from the start to raw handlers, the rest to FastAPI."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING

from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.system.control import PREFIX, ControlApi
from instance.system.error_page import PATH as ERRORS_PATH
from instance.system.error_page import error_page
from instance.system.health import health, ready
from instance.system.idempotency import Idempotency
from instance.system.open_mode import with_some_key
from instance.system.raw_http import Header, Message, Receive, Scope, Send, read_body, send_error

if TYPE_CHECKING:
    from instance.server import Instance

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_MAX_BYTES = 4 << 20
LARGE_BODY_MAX_BYTES = 16 << 20
LARGE_BODY_PATHS = (
    "/api/config/import",
    "/api/config/diff",
    "/api/exchange/",
    "/api/proxy/mockllm/",
    "/api/forge/batch",
)
LINES_PATHS = ("/api/forge/batch",)
LINES_TYPES = (b"application/x-ndjson", b"application/jsonl")
FORWARDED_PREFIX = re.compile(rb"(/[A-Za-z0-9._~-]{1,64}){1,8}")
CORS_MAX_AGE_S = b"600"

YAML_TYPE = b"application/yaml"
YAML_PATHS = frozenset(("/api/proxy/mockllm/fixtures",))
"""Where a body may be YAML too."""

log = logging.getLogger("stockyard.server")


class Gateway:
    """Dispatches every request of the instance. `last_api_ns` is when the last one to `/api` was over (monotonic).

    What an open page of the console asks for by itself is neither counted nor remembered: it shall not keep the instance
    awake.
    """

    def __init__(self, instance: Instance, control: ControlApi) -> None:
        self._instance = instance
        self._control = control
        self._endpoint: Asgi = instance.chute.endpoint
        self._origins = frozenset(origin.encode() for origin in instance.core.settings.server.cors_origins)
        self._idempotency = Idempotency(instance)
        self._api: asyncio.Future[Asgi] | None = None
        self.api_in_flight = 0
        self.last_api_ns = perf_counter_ns()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        if self._origins or self._instance.draining:
            # What is added to an answer is added by `send`: it may not go round it.
            scope.pop("extensions", None)
            send = self._with_cors(scope, send)
            if self._instance.draining:
                send = _closing(send)
        if self._instance.open_principal is not None:
            scope = with_some_key(scope)
        if scope["method"] == "OPTIONS":
            return self._options(scope, send)
        if scope["path"].startswith("/v1/"):
            return self._endpoint(scope, receive, send)
        return self._beside_calls(scope, receive, send)

    async def _beside_calls(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        try:
            if path in ("/health", "/api/health"):
                await health(self._instance, scope, send)
            elif path == "/ready":
                await ready(self._instance, scope, send)
            elif path.startswith(PREFIX):
                await self._control(scope, receive, send)
            elif path == ERRORS_PATH:
                await error_page(scope, send)
            else:
                self._instance.chute.admit_to_console(scope.get("client"), dict(scope["headers"]))
                await self._to_api(scope, receive, send)
        except StockyardError as error:
            await send_error(scope, send, error)

    async def _to_api(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = new_id("req_")
        limit = LARGE_BODY_MAX_BYTES if scope["path"].startswith(LARGE_BODY_PATHS) else BODY_MAX_BYTES
        body = await read_body(scope, receive, limit)
        if body:
            _require_json(scope)
        counts = not _is_console(scope["path"])
        self.api_in_flight += counts
        try:
            api = await self.api()
            forwarded = _forwarded(scope, request_id)
            await self._idempotency(api, forwarded, _replayed(body, receive), _named(send, forwarded, request_id), body)
        except StockyardError:
            raise
        except Exception:  # raised anew after FastAPI has answered 500 and logged it
            log.debug("%s was answered with 500", request_id)
        finally:
            if counts:
                self.api_in_flight -= 1
                self.last_api_ns = perf_counter_ns()

    async def api(self) -> Asgi:
        """The FastAPI application, built on first use and beside the event loop: importing it takes 0.3 s and 30 MB."""
        if self._api is None:
            self._api = asyncio.ensure_future(asyncio.to_thread(_build, self._instance))
        return await asyncio.shield(self._api)

    async def _options(self, scope: Scope, send: Send) -> None:
        origin = dict(scope["headers"]).get(b"origin", b"")
        headers: tuple[Header, ...] = ()
        if origin in self._origins:
            headers = (
                (b"access-control-allow-methods", b"GET, POST, PUT, DELETE"),
                (b"access-control-allow-headers", dict(scope["headers"]).get(b"access-control-request-headers", b"")),
                (b"access-control-max-age", CORS_MAX_AGE_S),
            )
        await send({"type": "http.response.start", "status": 204, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b""})

    def _with_cors(self, scope: Scope, send: Send) -> Send:
        origin = dict(scope["headers"]).get(b"origin", b"")
        if origin not in self._origins:
            return send
        return _adding(send, ((b"access-control-allow-origin", origin), (b"vary", b"Origin")))


def _is_console(path: str) -> bool:
    return path == "/ui" or path.startswith("/ui/")


def _require_json(scope: Scope) -> None:
    given = dict(scope["headers"]).get(b"content-type", b"").split(b";")[0].strip().lower()
    if given == YAML_TYPE and scope["path"] in YAML_PATHS:
        return
    if given in LINES_TYPES and scope["path"] in LINES_PATHS:
        return
    if given != b"application/json" and not given.endswith(b"+json"):
        message = "Send JSON, with the header `Content-Type: application/json`."
        raise StockyardError("unsupported_media_type", message, param="Content-Type")


def _build(instance: Instance) -> Asgi:
    from instance.system.api import build_api

    return build_api(instance)


def _forwarded(scope: Scope, request_id: str) -> Scope:
    """The scope for FastAPI: HEAD as GET (the server leaves the body out), below the prefix that the edge took off."""
    forwarded = dict(scope)
    forwarded["state"] = {**scope.get("state", {}), "request_id": request_id}
    if scope["method"] == "HEAD":
        forwarded["method"] = "GET"
    prefix = dict(scope["headers"]).get(b"x-forwarded-prefix", b"").rstrip(b"/")
    if FORWARDED_PREFIX.fullmatch(prefix):
        forwarded["root_path"] = prefix.decode("ascii")
    return forwarded


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already, then what the connection says."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _adding(send: Send, headers: tuple[Header, ...]) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return add


def _closing(send: Send) -> Send:
    return _adding(send, ((b"connection", b"close"),))


def _named(send: Send, scope: Scope, request_id: str) -> Send:
    """Adds the request's id and, once the key is known, its management rate to the answer."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            rate: tuple[Header, ...] = scope["state"].get("rate_headers", ())
            message = {
                **message,
                "headers": [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *rate],
            }
        await send(message)

    return add
