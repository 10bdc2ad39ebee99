"""The control plane's HTTP application, and the process that serves it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from fastapi import FastAPI

from control_plane.api import (
    accounts,
    answers,
    backups,
    events,
    health,
    internal,
    logs,
    master_key,
    moving,
    operator,
    tenant_keys,
    tenant_verbs,
    tenants,
    usage,
)
from control_plane.api.frame import Frame
from control_plane.api.idempotent import Idempotent
from control_plane.api.measured import Measured
from control_plane.api.plane import Plane
from control_plane.config import Config
from control_plane.errors import ConfigError
from control_plane.running import running_plane
from control_plane.runtimes.protocol import EngineError
from control_plane.version import VERSION
from instance.core import log_lines
from instance.core.garbage import collect_seldom

ROUTERS = (
    health,
    accounts,
    moving,
    tenants,
    tenant_verbs,
    events,
    logs,
    tenant_keys,
    backups,
    usage,
    operator,
    master_key,
    internal,
)
SHUTDOWN_S = 8


def api_app(plane: Plane) -> FastAPI:
    """The API of a plane, without what `Frame` adds around it."""
    app = FastAPI(
        title="Stockyard Cloud",
        version=VERSION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.plane = plane
    app.state.event_streams = set()
    app.state.log_followers = set()
    for part in ROUTERS:
        app.router.routes.extend(part.router.routes)  # include_router builds every route anew: 0.2 s of the start
    answers.install(app)
    app.add_middleware(Idempotent)
    app.add_middleware(Measured, instruments=plane.instruments)
    return app


def serve(config: Config) -> int:
    """Serve until SIGINT or SIGTERM; 0 after a clean end, 1 when it could not start or a part of it failed.

    Raises ConfigError.
    """
    log_lines.set_up(config.log_format, logging.INFO)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for every call to Litestream says nothing
    try:
        return uvloop.run(_serve(config))
    except EngineError as error:
        print(f"stockyard-cloud: {error}", file=sys.stderr)
        return 1


async def _serve(config: Config) -> int:
    ended = asyncio.Event()
    failed = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)

    def fail() -> None:
        failed.set()
        ended.set()

    with _listen(config) as listener:
        async with running_plane(config, on_failure=fail) as plane:
            server = _Server(plane)
            collect_seldom()
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            waiting = asyncio.create_task(ended.wait())
            await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            waiting.cancel()
            await serving
    return 1 if failed.is_set() else 0


def _listen(config: Config) -> socket.socket:
    """The listening socket; who calls before the plane is open waits. Raises ConfigError."""
    host, port = config.listen_host, config.listen_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ConfigError(f"cannot listen on {config.listen}: {error.strerror}; choose with --listen") from None


class _Server(uvicorn.Server):
    """Leaves signals to its process, and ends streams and waiting requests as soon as it shall end."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(
            uvicorn.Config(
                Frame(api_app(plane)),
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                timeout_graceful_shutdown=SHUTDOWN_S,
            )
        )
        self._plane = plane

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn would raise the signal again at the end, before the database is closed."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer what runs, close."""
        self._plane.end()
        await super().shutdown(sockets)
