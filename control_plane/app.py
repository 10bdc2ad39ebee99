"""Puts the control plane together: database, API, reconciler, snapshot, in one process.

`api_app` makes the application; its life cycle opens everything and closes it again. `serve` runs it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI

from control_plane.api import (
    accounts,
    answers,
    backups,
    events,
    health,
    internal,
    operator,
    tenant_keys,
    tenants,
    usage,
)
from control_plane.api.frame import Frame
from control_plane.api.idempotent import Idempotent
from control_plane.api.limits import RequestRate, SignupLimits
from control_plane.api.plane import Plane
from control_plane.config import Config
from control_plane.keys import digest, master_box, operator_key
from control_plane.snapshot import Snapshot
from control_plane.store.database import Database
from control_plane.store.store import Store
from control_plane.store.tenants import incarnation
from control_plane.version import VERSION

log = logging.getLogger(__name__)
ROUTERS = (health, accounts, tenants, events, tenant_keys, backups, usage, operator, internal)
SHUTDOWN_S = 10
REQUESTS_PER_MINUTE = 600  # of one account key; the operator's has no limit


def api_app(
    config: Config,
    *,
    reconcile: bool = True,
    env: Mapping[str, str] | None = None,
    on_failure: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The API without what `Frame` adds. With `reconcile` False nothing is started or stopped.

    `on_failure` is called when a background part ends by a failure: the process should then end and be started anew.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with running_plane(config, reconcile=reconcile, env=env, on_failure=on_failure) as plane:
            app.state.plane = plane
            yield

    app = FastAPI(
        title="Stockyard Cloud",
        version=VERSION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=life,
    )
    app.state.event_streams = set()
    for part in ROUTERS:
        app.router.routes.extend(part.router.routes)  # include_router builds every route anew: 0.2 s of the start
    answers.install(app)
    app.add_middleware(Idempotent)
    return app


@asynccontextmanager
async def running_plane(
    config: Config, *, reconcile: bool, env: Mapping[str, str] | None, on_failure: Callable[[], None]
) -> AsyncIterator[Plane]:
    """Everything opened, in the order in which it depends on each other; closed in the reverse."""
    config.prepare()
    key, made = operator_key(config, env)
    box = master_box(config, env)
    database = Database(config.sqlalchemy_url, replicated=config.replicated)
    await database.open()
    try:
        store = Store(database, config.plan, box.open)
        plane = Plane(
            config=config,
            database=database,
            store=store,
            snapshot=Snapshot(database, config.snapshot_file, config.plan),
            box=box,
            operator_digest=digest(key),
            incarnation=await database.write(incarnation),
            signup_limits=SignupLimits(config.signup_per_address_hour, config.signup_per_domain_hour),
            request_rate=RequestRate(REQUESTS_PER_MINUTE),
            started_at=time.time(),
        )
        if made:
            log.warning("operator key made and kept in %s", config.operator_key_file)
            if sys.stderr.isatty():
                print(f"operator key (kept in {config.operator_key_file}): {key}", file=sys.stderr)
        await plane.snapshot.write()
        async with _running(plane.snapshot.run(), "snapshot", on_failure):
            if not reconcile:
                yield plane
                return
            async with _reconciling(plane, on_failure):
                yield plane
    finally:
        await database.close()


@asynccontextmanager
async def _reconciling(plane: Plane, on_failure: Callable[[], None]) -> AsyncIterator[None]:
    """The loop with its real parts: runtime, edge, Litestream, instances."""
    from control_plane.backups.litestream import LitestreamBackups
    from control_plane.reconcile.assemble import assemble

    backups = LitestreamBackups(plane.config)
    if plane.config.replicated:
        backups.replicate_control(plane.incarnation)
    backups.start()
    try:
        reconciler = assemble(plane.config, plane.store, backups)
        plane.reconciler = reconciler
        async with _running(reconciler.run(), "reconciler", on_failure):
            yield
    finally:
        plane.reconciler = None
        await backups.close()


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], name: str, on_failure: Callable[[], None]) -> AsyncIterator[None]:
    """Run `work` in the background; it must not end by itself. Should it fail, say so and end the process."""
    task = asyncio.create_task(work, name=name)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.critical("%s failed; the control plane stops so that it is started anew", name, exc_info=error)
            on_failure()

    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


class _Server(uvicorn.Server):
    """Ends streams and waiting requests as soon as it is told to end, not after they have ended by themselves."""

    def __init__(self, api: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._api = api

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer what runs, close."""
        self._api.state.plane.end()
        await super().shutdown(sockets)


def serve(config: Config) -> int:
    """Serve until SIGINT or SIGTERM; 0 after a clean end, 1 when a part of it failed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for every call to Litestream says nothing
    failed = False

    def stop() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    api = api_app(config, on_failure=stop)
    server = _Server(
        api,
        uvicorn.Config(
            Frame(api),
            host=config.listen_host,
            port=config.listen_port,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            timeout_graceful_shutdown=SHUTDOWN_S,
        ),
    )
    server.run()
    return 1 if failed or not server.started else 0
