"""The activator: where the edge sends a call whose tenant is not awake.

It checks the key against the snapshot first (a stranger wakes nobody), wakes the tenant, holds the call meanwhile, and
passes it on. What it cannot bring about it answers in the error shape, with Retry-After where repeating helps: a call that
would wait beyond its deadline, or for which there is no place, is answered at once, and its tenant wakes all the same.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from control_plane.config import Config
from control_plane.domain.tenants import Status
from control_plane.routing import answers, console, pages
from control_plane.routing.answers import Refusal, Send
from control_plane.routing.caller import Caller, CallerLeft, Receive
from control_plane.routing.early import DropLimits, Drops, Exchange
from control_plane.routing.edge import FolderEdge
from control_plane.routing.forward import Lost, NotDialled, forward
from control_plane.routing.held import HoldLimits
from control_plane.routing.holding import Holding
from control_plane.routing.links import FolderTable
from control_plane.routing.pace import monotonic
from control_plane.routing.plane_client import PlaneClient, operator_key
from control_plane.routing.presented import presented_keys
from control_plane.routing.snapshot import Snapshot, TenantView, Unreadable
from control_plane.routing.wake import PLANE_WAIT_S, Waker
from instance.core import log_lines
from instance.core.garbage import collect_seldom

REDIAL_S = 0.05
PASSED_ON_MOST = 8192  # calls that were held and are now under way
STATS_PATH = "/internal/activator/stats"

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
        deadline_s: float | None = None,
        drop_limits: DropLimits | None = None,
        forward: Forward = forward,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._forward = forward
        self._now = now
        self._snapshot = snapshot
        self._deadline_s = config.wake_deadline_s if deadline_s is None else deadline_s
        limits = HoldLimits(config.held_calls, config.held_calls_per_tenant, config.held_body_bytes)
        self._holding = Holding(waker, limits)
        self._drops = Drops(drop_limits or DropLimits())
        self._door = console.Door()
        self._passing_on = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != "http":
            return
        exchange = Exchange(receive, send, self._drops)
        send = exchange.send_after_body  # only an instance may answer earlier
        headers = dict(scope["headers"])
        slug = headers.get(b"x-stockyard-tenant")
        if slug is None and scope["path"] == STATS_PATH:
            await self._answer_stats(scope, send)
            return
        log_lines.tenant.set((slug or b"").decode("latin-1"))
        try:
            tenant = self._snapshot.tenant((slug or b"").decode("latin-1"))
        except Unreadable:
            await answers.send_refusal(send, scope["path"], answers.waking())
            return
        if tenant is None or tenant.status is Status.DELETED:
            await _answer_unknown(send, scope, headers)
        elif scope["path"] == "/health":
            await _answer_health(send, tenant)
        elif scope["path"] == console.WAKE_PATH:
            await self._answer_door(scope, exchange, tenant, headers)
        elif not tenant.admits(presented_keys(scope["headers"]), self._now()):
            await _answer_stranger(send, scope, headers, tenant)
        elif tenant.status is Status.SUSPENDED:
            await answers.send_refusal(send, scope["path"], answers.suspended(tenant.reason))
        elif tenant.status is Status.FAILED:
            await answers.send_refusal(send, scope["path"], answers.unavailable(tenant.failure))
        else:
            await self._serve(scope, exchange, tenant.slug)

    async def _serve(self, scope: Scope, exchange: Exchange, slug: str) -> None:
        """Pass the call on as soon as the tenant is routed to."""
        try:
            async with Caller(exchange.receive, self._holding.calls) as caller:
                refusal = await self._pass_on(scope, caller, exchange.send, slug)
        except CallerLeft:
            return
        except Lost as lost:
            if lost.answered:
                raise  # nothing fit can follow a begun answer: the server ends the connection
            refusal = answers.instance_lost()
        if refusal is not None:
            await answers.send_refusal(exchange.send_after_body, scope["path"], refusal)

    async def _pass_on(self, scope: Scope, caller: Caller, send: Send, slug: str) -> Refusal | None:
        end = monotonic() + self._deadline_s
        while monotonic() < end:
            refusal = await self._holding.until_awake(slug, caller.left, end)
            if refusal is not None:
                return refusal
            if self._passing_on >= PASSED_ON_MOST:
                return self._holding.shed("passing_on", 1.0)
            self._passing_on += 1
            try:
                with suppress(NotDialled):
                    await self._forward(scope, caller, send, self._config.own_socket(slug))
                    return None
            finally:
                self._passing_on -= 1
            await asyncio.sleep(REDIAL_S)
        return self._holding.shed("deadline", 1.0)

    async def _answer_door(
        self, scope: Scope, exchange: Exchange, tenant: TenantView, headers: dict[bytes, bytes]
    ) -> None:
        """A key was entered in the form of the page: wake the tenant and go on to its console."""
        if scope["method"] == "POST":
            form = await _form(exchange.receive, self._drops.limits.seconds)
            page = self._door.turned_away(tenant, headers, form)
            if page is None:
                end = monotonic() + self._deadline_s
                refusal = await self._holding.until_awake(tenant.slug, asyncio.Event(), end)
                page = None if refusal is None else _page_for(refusal, tenant)
            if page is not None:
                await console.send_page(exchange.send_after_body, page, tenant.slug, headers)
                return
        await console.send_on(exchange.send_after_body, headers)

    async def _answer_stats(self, scope: Scope, send: Send) -> None:
        """Figures for the control plane's metrics, to who has the operator's key."""
        expected = operator_key(self._config).encode()
        presented = [key.encode("latin-1") for key in presented_keys(scope["headers"])]
        if not expected or not any(hmac.compare_digest(key, expected) for key in presented):
            await answers.send_refusal(send, scope["path"], answers.unauthorized())
            return
        await answers.send_body(send, 200, b"application/json", json.dumps(self.stats()).encode())

    def stats(self) -> dict[str, Any]:
        """What is held now, what became of all that came, and how old the snapshot is."""
        written_at = self._snapshot.written_at()
        return self._holding.stats() | {
            "passing_on": self._passing_on,
            "dropping": self._drops.under_way,
            "deadline_s": self._deadline_s,
            "snapshot_age_s": None if written_at is None else round(max(0.0, time.time() - written_at), 3),
        }


async def _form(receive: Receive, seconds: float) -> bytes:
    """What was entered; empty if it is longer than any form is, or not there in time."""
    form: bytes = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while len(form) <= console.FORM_MOST_BYTES:
                message = await receive()
                form += message.get("body", b"")
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return form
    return b""


def _page_for(refusal: Refusal, tenant: TenantView) -> pages.Page:
    match refusal.code:
        case "waking":
            return pages.waking(refusal.retry_after_s)
        case "no_such_tenant":
            return pages.unknown()
        case "tenant_suspended":
            return pages.suspended(tenant.reason)
        case _:
            return pages.failed(refusal.retry_after_s)


async def _answer_unknown(send: Send, scope: Scope, headers: dict[bytes, bytes]) -> None:
    if console.is_browser_at_console(scope["method"], scope["path"], headers):
        await console.send_page(send, pages.unknown(), "", headers)
    else:
        await answers.send_refusal(send, scope["path"], answers.no_such_tenant())


async def _answer_health(send: Send, tenant: TenantView) -> None:
    if tenant.status is Status.FAILED:
        await answers.send_health(send, 503, "failed")
    elif tenant.status is Status.NAPPING:
        await answers.send_health(send, 200, "asleep")
    else:
        await answers.send_health(send, 200, tenant.status.value)


async def _answer_stranger(send: Send, scope: Scope, headers: dict[bytes, bytes], tenant: TenantView) -> None:
    """No good key: a person with a browser at the console is told what is the matter, anybody else is refused."""
    if console.is_browser_at_console(scope["method"], scope["path"], headers):
        await console.send_page(send, console.page_of(tenant), tenant.slug, headers)
    else:
        await answers.send_refusal(send, scope["path"], answers.unauthorized())


def run_activator(config: Config) -> int:
    """Serve on run/activator.sock until SIGTERM or SIGINT; the exit code."""
    import uvicorn

    from control_plane.reconcile.instances import SocketInstances
    from control_plane.routing.nap import NapResumer
    from control_plane.runtimes import open_runtime

    log_lines.set_up(config.log_format, logging.INFO)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for every wake says nothing
    config.prepare()
    edge, snapshot = FolderEdge(config), Snapshot(config.snapshot_dir)
    nap = NapResumer(open_runtime(config), SocketInstances(config), edge, snapshot)
    waker = Waker(PlaneClient(config, PLANE_WAIT_S), FolderTable(config, edge), nap)
    app = Activator(config, snapshot, waker)
    socket: Path = config.activator_socket
    socket.unlink(missing_ok=True)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[Any] | None = None) -> None:
            await super().startup(sockets)
            socket.chmod(0o600)  # uvicorn opens it to everybody; only the edge and the plane may call

    server = Server(
        uvicorn.Config(
            app,
            uds=str(socket),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=10,
        )
    )
    collect_seldom()
    try:
        server.run()
    except KeyboardInterrupt:
        pass
    finally:
        socket.unlink(missing_ok=True)
    return 0
