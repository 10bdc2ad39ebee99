"""What the activator says by itself, in the error shape that every part of Stockyard uses."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

UNAVAILABLE_RETRY_S = 30

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that ends a call; `retry_after_s` 0 = not worth repeating."""

    code: str
    status: int
    type: str
    message: str
    retry_after_s: int = 0


def unauthorized() -> Refusal:
    return Refusal(
        "unauthorized", 401, "authentication_error", "Send a key of this tenant: `Authorization: Bearer KEY`."
    )


def no_such_tenant() -> Refusal:
    return Refusal("no_such_tenant", 404, "not_found_error", "No tenant answers at this address; check its name.")


def suspended(reason: str) -> Refusal:
    why = f" ({reason})" if reason else ""
    return Refusal(
        "tenant_suspended", 403, "permission_error", f"This tenant is suspended{why}; ask whoever runs the service."
    )


def unavailable(failure: str) -> Refusal:
    why = f" ({failure})" if failure else ""
    return Refusal(
        "tenant_unavailable",
        503,
        "overloaded_error",
        f"This tenant cannot be started now{why}; its operator sees why.",
        UNAVAILABLE_RETRY_S,
    )


def waking(retry_after_s: int = 2) -> Refusal:
    return Refusal("waking", 503, "overloaded_error", "This tenant is waking up; send the call again.", retry_after_s)


def instance_lost() -> Refusal:
    return Refusal(
        "instance_lost",
        502,
        "api_error",
        "The instance stopped answering in the middle of this call; its traces say more.",
    )


async def send_refusal(send: Send, path: str, refusal: Refusal) -> None:
    """Answer a call with a refusal, in the dialect that its path belongs to."""
    error: dict[str, Any] = {
        "code": refusal.code,
        "message": refusal.message,
        "status": refusal.status,
        "type": refusal.type,
        "param": None,
        "request_id": None,
        "trace_id": None,
        "doc": f"/docs/errors#{refusal.code}",
    }
    body: dict[str, Any] = {"error": error}
    if path.startswith(("/v1/messages", "/v1/v1/messages")):
        body = {"type": "error", **body}
    headers = [(b"retry-after", str(refusal.retry_after_s).encode())] if refusal.retry_after_s else []
    await send_body(send, refusal.status, b"application/json", json.dumps(body).encode(), headers)


async def send_health(send: Send, status: int, state: str) -> None:
    """Answer `/health` for an instance that is not awake to do so."""
    await send_body(send, status, b"application/json", json.dumps({"status": state}).encode())


async def send_body(
    send: Send, status: int, content_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """One whole answer that no cache may keep."""
    fixed = [
        (b"content-type", content_type),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": fixed + (headers or [])})
    await send({"type": "http.response.body", "body": body})
