"""The activator: where the edge sends a call whose tenant is not awake.

It checks the key against the snapshot first (a stranger wakes nobody), wakes the tenant, holds the call meanwhile, and
passes it on. What it cannot bring about it answers in the error shape, with Retry-After where repeating helps.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from control_plane.config import Config
from control_plane.domain.tenants import Status
from control_plane.routing import answers
from control_plane.routing.answers import Send
from control_plane.routing.caller import Caller, CallerLeft, Receive
from control_plane.routing.edge import FolderEdge
from control_plane.routing.forward import Lost, NotDialled, forward
from control_plane.routing.presented import presented_keys
from control_plane.routing.snapshot import Snapshot, TenantView
from control_plane.routing.wake import PLANE_WAIT_S, Waker

HELD_PER_TENANT = 64
HELD_IN_ALL = 1024
DEADLINE_S = 30.0
REDIAL_S = 0.05

Scope = MutableMapping[str, Any]
Forward = Callable[[Scope, Caller, Send, Path], Awaitable[None]]


class Activator:
    """ASGI application. The edge names the tenant in X-Stockyard-Tenant and has taken the prefix off the path."""

    def __init__(
        self,
        config: Config,
        snapshot: Snapshot,
        waker: Waker,
        *,
        deadline_s: float = DEADLINE_S,
        forward: Forward = forward,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._forward = forward
        self._now = now
        self._snapshot = snapshot
        self._waker = waker
        self._deadline_s = deadline_s
        self._held: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        headers = dict(scope["headers"])
        tenant = self._snapshot.tenant(headers.get(b"x-stockyard-tenant", b"").decode("latin-1"))
        if tenant is None or tenant.status is Status.DELETED:
            await answers.send_refusal(send, path, answers.no_such_tenant())
        elif path == "/health":
            await _answer_health(send, tenant)
        elif not tenant.admits(presented_keys(scope["headers"]), self._now()):
            await _answer_stranger(send, path, headers, tenant)
        elif tenant.status is Status.SUSPENDED:
            await answers.send_refusal(send, path, answers.suspended(tenant.reason))
        elif tenant.status is Status.FAILED:
            await answers.send_refusal(send, path, answers.unavailable(tenant.failure))
        elif self._full(tenant.slug):
            await answers.send_refusal(send, path, answers.waking())
        else:
            with self._hold(tenant.slug):
                async with Caller(receive) as caller:
                    await self._serve(scope, caller, send, tenant.slug)

    async def _serve(self, scope: Scope, caller: Caller, send: Send, slug: str) -> None:
        """Pass the call on as soon as the tenant is routed to."""
        refusal: answers.Refusal | None
        try:
            refusal = await self._pass_on(scope, caller, send, slug)
        except CallerLeft:
            return
        except Lost as lost:
            if lost.answered:
                raise  # nothing fit can follow a begun answer: the server ends the connection
            refusal = answers.instance_lost()
        if refusal is not None:
            await answers.send_refusal(send, scope["path"], refusal)

    async def _pass_on(self, scope: Scope, caller: Caller, send: Send, slug: str) -> answers.Refusal | None:
        clock = asyncio.get_running_loop().time
        end = clock() + self._deadline_s
        routed = await self._waker.routed(slug)  # it may have come back while the edge was handing the call over
        while (left := end - clock()) > 0:
            if not routed:
                refusal = await self._wake(slug, caller, left)
                if refusal is not None:
                    return refusal
            with suppress(NotDialled):
                await self._forward(scope, caller, send, self._config.own_socket(slug))
                return None
            routed = False
            await asyncio.sleep(REDIAL_S)
        return answers.waking()

    async def _wake(self, slug: str, caller: Caller, deadline_s: float) -> answers.Refusal | None:
        wake = asyncio.create_task(self._waker.wake(slug, deadline_s))
        left = asyncio.create_task(caller.left.wait())
        try:
            await asyncio.wait((wake, left), return_when=asyncio.FIRST_COMPLETED)
            if not wake.done():
                raise CallerLeft
            return wake.result()
        finally:
            wake.cancel()
            left.cancel()

    def _full(self, slug: str) -> bool:
        return self._held[slug] >= HELD_PER_TENANT or self._held.total() >= HELD_IN_ALL

    @contextmanager
    def _hold(self, slug: str) -> Iterator[None]:
        self._held[slug] += 1
        try:
            yield
        finally:
            self._held[slug] -= 1
            if not self._held[slug]:
                del self._held[slug]


async def _answer_health(send: Send, tenant: TenantView) -> None:
    if tenant.status is Status.FAILED:
        await answers.send_health(send, 503, "failed")
    elif tenant.status is Status.NAPPING:
        await answers.send_health(send, 200, "asleep")
    else:
        await answers.send_health(send, 200, tenant.status.value)


async def _answer_stranger(send: Send, path: str, headers: dict[bytes, bytes], tenant: TenantView) -> None:
    """No good key: a person with a browser at the console is told what is the matter, anybody else is refused."""
    if not (path == "/ui" or path.startswith("/ui/")) or b"text/html" not in headers.get(b"accept", b""):
        await answers.send_refusal(send, path, answers.unauthorized())
    elif tenant.status is Status.SUSPENDED:
        why = f"Reason: {tenant.reason}." if tenant.reason else ""
        await answers.send_page(send, 403, "This tenant is suspended", f"{why} Ask whoever runs the service.")
    elif tenant.status is Status.FAILED:
        await answers.send_page(send, 503, "This tenant cannot be started now", "Its operator has been shown why.")
    else:
        await answers.send_page(
            send,
            401,
            "This tenant is asleep",
            "It wakes by a call with one of its keys, or from the service's console.",
        )


def run_activator(config: Config) -> int:
    """Serve on run/activator.sock until SIGTERM or SIGINT; the exit code."""
    import uvicorn

    from control_plane.reconcile.instances import SocketInstances
    from control_plane.routing.nap import NapResumer
    from control_plane.routing.plane_client import PlaneClient
    from control_plane.runtimes import open_runtime

    config.prepare()
    edge, snapshot = FolderEdge(config), Snapshot(config.snapshot_file)
    nap = NapResumer(open_runtime(config), SocketInstances(config), edge, snapshot)
    waker = Waker(PlaneClient(config, PLANE_WAIT_S), edge.is_linked, nap)
    app = Activator(config, snapshot, waker)
    socket: Path = config.activator_socket
    socket.unlink(missing_ok=True)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            uds=str(socket),
            log_level="warning",
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=10,
        )
    )
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        socket.unlink(missing_ok=True)
    return 0
