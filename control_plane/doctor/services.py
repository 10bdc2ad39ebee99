"""Edge, activator and Litestream: each is called, and must answer what it answers when it works."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from control_plane.backups.control_socket import ControlSocket
from control_plane.config import Config
from control_plane.doctor.finding import Finding, Level, good
from control_plane.reconcile.ports import Unavailable
from control_plane.reconcile.unix_http import request_json

ASK_S = 3.0
ANSWER_MOST_BYTES = 64 << 10
RUNBOOK = "ComponentDown"


async def check_edge(config: Config) -> Finding:
    """A host that no tenant has must get 404 in the error shape: the way in works, and gives nothing away."""
    host, _, port = config.edge_listen.rpartition(":")
    address = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
    try:
        async with asyncio.timeout(ASK_S):
            status, body = await _ask_edge(address, int(port))
    except (OSError, TimeoutError, ValueError, IndexError, asyncio.IncompleteReadError) as problem:
        return _down("edge", f"{config.edge_listen} does not answer: {_words(problem)}", "no tenant is reachable")
    if status == 404 and _code(body) == "no_such_tenant":
        return good("edge", f"{config.edge_listen} answers, and refuses hosts that are no tenant's")
    seen = f"{config.edge_listen} answers an unknown host with {status}, not with 404 no_such_tenant"
    return _down("edge", seen, "somebody else listens there, or an old configuration is in force")


async def check_activator(config: Config) -> Finding:
    """Asked for a tenant that is none, it must say so."""
    why = "sleeping tenants are not woken: their callers get 503"
    try:
        status, body = await request_json(config.activator_socket, "GET", "/health", timeout_s=ASK_S)
    except Unavailable as problem:
        return _down("activator", f"{config.activator_socket} does not answer: {problem}", why)
    if status == 404 and _code(body) == "no_such_tenant":
        return good("activator", "answers on its socket")
    return _down("activator", f"it answers with {status}, not with 404 no_such_tenant", why)


async def check_litestream(config: Config) -> Finding:
    """It must list what it copies."""
    control = ControlSocket(config.litestream_socket)
    try:
        async with asyncio.timeout(ASK_S):
            found = await control.databases()
    except (Unavailable, TimeoutError, KeyError, ValueError) as problem:
        seen = f"no answer at {config.litestream_socket}: {_words(problem)}"
        return _down("litestream", seen, "databases are not copied; tenants cannot be put to sleep")
    return good("litestream", f"copies {len(found)} databases")


async def ups(config: Config) -> dict[str, bool]:
    """Which of the three do their work, for the metrics."""
    checks: dict[str, Callable[[Config], Awaitable[Finding]]] = {
        "edge": check_edge,
        "activator": check_activator,
        "litestream": check_litestream,
    }
    found = await asyncio.gather(*(check(config) for check in checks.values()))
    return {each.name: each.level is Level.OK for each in found}


def _down(name: str, seen: str, why: str) -> Finding:
    log = {"edge": "edge.log", "activator": "activator.log", "litestream": "litestream.log"}[name]
    mend = f"`stockyard-cloud up` starts it again when it ends; logs/{log} says why it does not stay"
    return Finding(name, Level.BAD, seen, why, mend, f"tail -n 50 DATA/logs/{log}", RUNBOOK)


async def _ask_edge(address: str, port: int) -> tuple[int, dict[str, Any]]:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: no-tenant.invalid\r\nConnection: close\r\n\r\n")
        await writer.drain()
        answer = await reader.read(ANSWER_MOST_BYTES)
        while more := await reader.read(ANSWER_MOST_BYTES - len(answer)) if len(answer) < ANSWER_MOST_BYTES else b"":
            answer += more
    finally:
        writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = {}
    return status, body if isinstance(body, dict) else {}


def _code(body: dict[str, Any]) -> str:
    error = body.get("error")
    return str(error.get("code", "")) if isinstance(error, dict) else ""


def _words(problem: Exception) -> str:
    return str(problem) or type(problem).__name__
