"""Counts every request by its route and status, and times it to the beginning of its answer."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.metrics.instruments import Instruments

METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}


class Measured:
    """ASGI middleware. Routes are told by their template, so that no path makes a label of its own."""

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self._app = app
        self._instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        method = scope["method"] if scope["method"] in METHODS else "other"

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self._instruments.requests.labels(method, route, str(message["status"])).inc()
                self._instruments.request_seconds.labels(route).observe(time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, counted_send)
