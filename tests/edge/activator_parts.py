"""An activator as its own process runs it, with a control plane and an engine that a test plays."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import uvicorn

from control_plane.config import Config
from control_plane.routing.activator import Activator
from control_plane.routing.edge import FolderEdge
from control_plane.routing.plane_client import PlaneClient
from control_plane.routing.snapshot import Snapshot
from control_plane.routing.wake import PLANE_WAIT_S, Waker

KEY = "sk-sy-good"


def write_snapshot(config: Config, status: str, slug: str = "acme", **more: Any) -> None:
    """As the control plane does: whole, by rename. The tenant's only good key is KEY, `old` has expired."""
    keys = [
        {"sha256": hashlib.sha256(KEY.encode()).hexdigest(), "expires_at": None},
        {"sha256": hashlib.sha256(b"old").hexdigest(), "expires_at": time.time() - 1},
    ]
    tenant = {"status": status, "reason": "", "failure": "", "keys": keys, "state": {"generation": 1}} | more
    making = config.snapshot_file.with_suffix(".making")
    making.write_text(json.dumps({"version": 1, "tenants": {slug: tenant}}))
    making.replace(config.snapshot_file)


async def never_resumed(slug: str) -> bool:
    return False


@asynccontextmanager
async def running_activator(
    config: Config,
    *,
    deadline_s: float = 10.0,
    resume_nap: Callable[[str], Awaitable[bool]] = never_resumed,
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the activator on its socket, calling as the edge does for the tenant `acme`."""
    plane = PlaneClient(config, PLANE_WAIT_S)
    waker = Waker(plane, FolderEdge(config).is_linked, resume_nap)
    app = Activator(config, Snapshot(config.snapshot_file), waker, deadline_s=deadline_s)
    socket = config.run_dir / "a.sock"
    server = uvicorn.Server(
        uvicorn.Config(app, uds=str(socket), log_level="critical", lifespan="off", access_log=False)
    )
    with server.capture_signals():
        serving = asyncio.create_task(server._serve())
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.005)
        transport = httpx2.AsyncHTTPTransport(uds=str(socket), verify=False)
        headers = {"X-Stockyard-Tenant": "acme"}
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://edge", headers=headers, timeout=20
        ) as client:
            yield client
        server.should_exit = True
        await serving
    await waker.close()
    await plane.close()


class PlayedPlane:
    """The control plane's internal endpoint; `wake` is what a test makes of a question."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.questions: list[str] = []
        self.status = "running"
        self.wake: Callable[[], Awaitable[None]] = self._nothing

    async def _nothing(self) -> None:
        return

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PlayedPlane]:
        self._config.operator_key_file.write_text("sy_op_x")
        server = await asyncio.start_server(self._answer, self._config.listen_host, self._config.listen_port)
        async with server:
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.questions.append(head)
        await self.wake()
        body = json.dumps({"slug": "acme", "status": self.status, "reason": "unpaid", "failure": "broken"}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
