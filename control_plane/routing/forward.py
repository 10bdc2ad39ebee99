"""Carries one held call to an instance's own socket and its answer back, unbuffered in both directions."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from control_plane.routing.answers import Send
from control_plane.routing.caller import Caller, CallerLeft

Scope = MutableMapping[str, Any]

# Meant for one connection only (RFC 9110, 7.6.1), and so not passed on.
_HOP_BY_HOP = frozenset(
    [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ]
)
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # given so that no call waits for certificates to be loaded
_TIMEOUT = httpx2.Timeout(None, connect=2.0).as_dict()  # how long an instance may take is its own settings' matter


class NotDialled(Exception):
    """Nobody accepts connections at the socket; nothing was sent, so the call may be tried again."""


class Lost(Exception):
    """The instance went away after it may have seen the call; `answered` = its answer had begun."""

    def __init__(self, answered: bool) -> None:
        super().__init__("the instance went away in the middle of a call")
        self.answered = answered


async def forward(scope: Scope, caller: Caller, send: Send, own_socket: Path) -> None:
    """Pass the call on and stream its answer. Raises `NotDialled`, `Lost`, or `CallerLeft` after ending the call."""
    call = asyncio.create_task(_exchange(scope, caller, send, own_socket))
    left = asyncio.create_task(caller.left.wait())
    try:
        await asyncio.wait((call, left), return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            raise CallerLeft
        call.result()
    finally:
        left.cancel()
        call.cancel()
        with suppress(asyncio.CancelledError, CallerLeft, NotDialled, Lost):
            await call


async def _exchange(scope: Scope, caller: Caller, send: Send, own_socket: Path) -> None:
    headers = _passed_on(scope["headers"])
    has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
    url = httpx2.URL("http://instance").copy_with(raw_path=_target(scope))
    request = httpx2.Request(
        scope["method"],
        url,
        headers=headers,
        content=caller.body() if has_body else None,
        extensions={"timeout": _TIMEOUT},
    )
    async with httpx2.AsyncHTTPTransport(uds=str(own_socket), verify=NO_TLS) as transport:
        try:
            response = await transport.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise NotDialled from None
        except httpx2.TransportError:
            raise Lost(answered=False) from None
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": response.status_code,
                    "headers": _passed_on((name.lower(), value) for name, value in response.headers.raw),
                }
            )
            async for block in response.aiter_raw():
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except httpx2.TransportError:
            raise Lost(answered=True) from None
        finally:
            await response.aclose()


def _passed_on(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP]


def _target(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return path + b"?" + query if query else path
