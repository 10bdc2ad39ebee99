"""An activator as its own process runs it, with a control plane and an engine that a test plays."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from control_plane.config import Config
from control_plane.routing.activator import STATS_PATH, Activator
from control_plane.routing.early import DropLimits
from control_plane.routing.edge import FolderEdge
from control_plane.routing.links import FolderTable
from control_plane.routing.plane_client import PlaneClient
from control_plane.routing.snapshot import INDEX, Snapshot
from control_plane.routing.wake import PLANE_WAIT_S, Waker
from control_plane.runtimes.proc import boot_id

KEY = "sk-sy-good"
APP_KEY = "sy_good"


def write_snapshot(config: Config, status: str, slug: str = "acme", **more: Any) -> None:
    """As the control plane does: whole, by rename. Good keys are KEY and APP_KEY, `old` has expired."""
    keys = [
        {"sha256": _digest(KEY), "kind": "proxy", "expires_at": None},
        {"sha256": _digest(APP_KEY), "kind": "app", "expires_at": None},
        {"sha256": _digest("old"), "kind": "admin", "expires_at": time.time() - 1},
    ]
    tenant = {"slug": slug, "status": status, "keys": keys, "state": {"generation": 1}} | more
    _put(config.snapshot_dir / f"{slug}.json", tenant)
    _put(config.snapshot_dir / INDEX, {"written_at": time.time(), "boot": boot_id()})


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _put(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    making = path.with_suffix(".making")
    making.write_text(json.dumps(content))
    making.replace(path)


async def never_resumed(slug: str) -> bool:
    return False


@asynccontextmanager
async def running_activator(
    config: Config,
    *,
    deadline_s: float | None = None,
    drop_limits: DropLimits | None = None,
    resume_nap: Callable[[str], Awaitable[bool]] = never_resumed,
    socket_name: str = "a.sock",
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the activator on its socket, calling as the edge does for the tenant `acme`."""
    plane = PlaneClient(config, PLANE_WAIT_S)
    waker = Waker(plane, FolderTable(config, FolderEdge(config)), resume_nap)
    app = Activator(config, Snapshot(config.snapshot_dir), waker, deadline_s=deadline_s, drop_limits=drop_limits)
    socket = config.run_dir / socket_name
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


async def stats(client: httpx2.AsyncClient) -> dict[str, Any]:
    """The activator's figures, asked for as the control plane does."""
    request = client.build_request("GET", STATS_PATH, headers={"Authorization": "Bearer sy_op_x"})
    del request.headers["X-Stockyard-Tenant"]
    answer = await client.send(request)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


class PlayedPlane:
    """The control plane's internal endpoint; `wake` is what a test makes of a question."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.questions: list[str] = []
        self.status = "running"
        self.queue: dict[str, Any] | None = None
        self.wake: Callable[[], Awaitable[None]] = self.nothing

    async def nothing(self) -> None:
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
        said = {"slug": "acme", "status": self.status, "reason": "unpaid", "failure": "broken", "queue": self.queue}
        body = json.dumps(said).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
