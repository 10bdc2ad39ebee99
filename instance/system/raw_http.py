"""JSON in and out of raw ASGI handlers, for what must answer before and without FastAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from instance.core.errors import StockyardError, error_body
from instance.core.ids import new_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

BODY_DEADLINE_S = 60.0

NO_STORE: tuple[Header, ...] = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body; raises `body_too_large` before more than `limit` bytes are read.

    Raises `bad_request` when it breaks off or is not there after `BODY_DEADLINE_S`.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > limit:
            raise too_large(limit)
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            return await _read(receive, limit)
    except TimeoutError:
        message = f"The request's body did not arrive within {BODY_DEADLINE_S:.0f} s."
        raise StockyardError("bad_request", message, headers={"Connection": "close"}) from None


async def _read(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise StockyardError("bad_request", "The request's body broke off.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def too_large(limit: int) -> StockyardError:
    """The error for a body over `limit` bytes; the connection is closed, as the rest of the body is not read."""
    return StockyardError("body_too_large", f"The body is over {limit} bytes.", headers={"Connection": "close"})


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty one is `{}`. Raises `invalid_json`, or `bad_request` for another value."""
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise StockyardError("invalid_json", f"The body is not valid JSON: {problem}.") from None
    if not isinstance(value, dict):
        raise StockyardError("bad_request", "The body must be a JSON object.")
    return value


async def send_json(scope: Scope, send: Send, status: int, content: Any, headers: tuple[Header, ...] = ()) -> None:
    """Answer with JSON that is not to be cached; without its body for HEAD."""
    await send_body(scope, send, status, orjson.dumps(content), (*NO_STORE, *headers))


async def send_body(scope: Scope, send: Send, status: int, body: bytes, headers: tuple[Header, ...]) -> None:
    """Answer with these bytes; without them for HEAD."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def send_error(scope: Scope, send: Send, error: StockyardError) -> None:
    """Answer with the error in the one shape."""
    request_id = new_id("req_")
    extra = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items()]
    headers = ((b"x-request-id", request_id.encode()), *extra)
    await send_json(scope, send, error.status, error_body(error, request_id), headers)


def method_not_allowed(*allowed: str) -> StockyardError:
    """405 with `Allow`."""
    names = ", ".join(allowed)
    return StockyardError("method_not_allowed", f"Use {names}.", headers={"Allow": names})
