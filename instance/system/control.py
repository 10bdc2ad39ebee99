"""`/api/instance/*`: what the control plane of a hosted instance asks and says. Raw, so that it answers from the start."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hmac import compare_digest
from time import perf_counter
from typing import TYPE_CHECKING, Any

from instance.core.errors import StockyardError
from instance.core.keys import hash_key
from instance.core.migrate import schema_version
from instance.core.timestamps import rfc3339_or_none
from instance.system import usage
from instance.system.credentials import presented_key
from instance.system.drain import DEADLINE_MAX_S, drain, resume
from instance.system.pushed_state import PushedState
from instance.system.raw_http import Receive, Scope, Send, decode_object, method_not_allowed, read_body, send_json
from instance.version import VERSION

if TYPE_CHECKING:
    from instance.server import Instance
    from instance.system.key_lease import KeyLease

PREFIX = "/api/instance/"
BODY_MAX_BYTES = 64 << 20
DRAIN_DEFAULT_S = 10.0
LEASE_MAX_S = 31_536_000.0
IO_PAGES_MAX = 100

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlApi:
    """The handlers of one hosted instance; without `instance.json` every path is 404."""

    def __init__(self, instance: Instance, state: PushedState, lease: KeyLease) -> None:
        self._instance = instance
        self._core = instance.core
        self._state = state
        self._key_lease = lease
        hosted = self._core.hosted
        self._digest = hash_key(hosted.instance_key.get_secret_value()) if hosted is not None else None
        self._handlers: dict[str, dict[str, Handler]] = {
            "state": {"GET": self._get_state, "PUT": state.apply},
            "usage": {"GET": self._usage},
            "activity": {"GET": self._activity},
            "lease": {"POST": self._lease},
            "drain": {"POST": self._drain},
            "resume": {"POST": self._resume},
            "verify": {"POST": self._verify},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; raises `StockyardError`."""
        if self._digest is None:
            raise StockyardError("not_found", "Only hosted instances have a control plane.")
        self._admit(scope, self._digest)
        methods = self._handlers.get(scope["path"].removeprefix(PREFIX))
        if methods is None:
            raise StockyardError("not_found", f"There is no {scope['path']} here.")
        handler = methods.get("GET" if scope["method"] == "HEAD" else scope["method"])
        if handler is None:
            raise method_not_allowed(*methods)
        document = decode_object(await read_body(scope, receive, BODY_MAX_BYTES))
        await send_json(scope, send, 200, await handler(document))

    def _admit(self, scope: Scope, digest: bytes) -> None:
        key = presented_key(scope["headers"])
        if not key:
            raise StockyardError("unauthorized", "The instance's own key is needed.")
        presented = hash_key(key)
        if not compare_digest(presented, digest):
            self._core.keys.lookup(presented, self._core.clock.wall_ns())
            raise StockyardError("scope_missing", "This key lacks the scope instance.", details={"scope": "instance"})

    async def _get_state(self, _: dict[str, Any]) -> dict[str, Any]:
        schema = await self._core.database.read(schema_version)
        return {
            **self._state.described(),
            "key_lease_left_s": self._key_lease.left_s(),
            "epoch": usage.shown_epoch(self._core),
            "version": VERSION,
            "schema": schema,
        }

    async def _usage(self, _: dict[str, Any]) -> dict[str, Any]:
        return await usage.reading(self._core)

    async def _activity(self, _: dict[str, Any]) -> dict[str, Any]:
        instance = self._instance
        idle_ns = instance.idle_ns()
        last = self._core.clock.wall_ns() - idle_ns if instance.was_called else 0
        return {
            "in_flight": instance.in_flight,
            "last_request_at": rfc3339_or_none(last),
            "idle_s": round(idle_ns / 1e9, 3),
            "scheduled_next_at": rfc3339_or_none(self._core.schedule.next_ns()),
            "streams": instance.chute.streams,
            "journal_idle": self._core.writer.idle,
        }

    async def _lease(self, document: dict[str, Any]) -> dict[str, Any]:
        lease_s = document.pop("lease_s", None)
        if document or type(lease_s) not in (int, float) or not 0 < float(lease_s) <= LEASE_MAX_S:
            message = f"Send `lease_s` alone: a number of seconds above 0, at most {LEASE_MAX_S:.0f}."
            raise StockyardError("invalid_value", message, param="lease_s")
        await self._key_lease.renew(float(lease_s))
        return {"key_lease_left_s": self._key_lease.left_s()}

    async def _drain(self, document: dict[str, Any]) -> dict[str, Any]:
        deadline_s = document.pop("deadline_s", DRAIN_DEFAULT_S)
        suspended = document.pop("suspended", False)
        if document:
            message = f"{min(document)}: there is no such field; did you mean 'deadline_s' or 'suspended'?"
            raise StockyardError("unknown_field", message, param=min(document))
        if type(deadline_s) not in (int, float) or not 0 <= deadline_s <= DEADLINE_MAX_S:
            message = f"`deadline_s` must be a number of seconds from 0 to {DEADLINE_MAX_S:.0f}."
            raise StockyardError("invalid_value", message, param="deadline_s")
        if suspended is True:
            self._instance.chute.endpoint.streams.running.end_all(
                StockyardError("tenant_suspended", "The tenant was suspended.")
            )
        return await drain(self._instance, deadline_s)

    async def _resume(self, _: dict[str, Any]) -> dict[str, Any]:
        resume(self._instance)
        return {"resumed": True}

    async def _verify(self, _: dict[str, Any]) -> dict[str, Any]:
        started = perf_counter()
        with suppress(TimeoutError):
            async with asyncio.timeout(usage.FOLD_S):
                await self._core.writer.drain()
        integrity, dangling, rows = await self._core.database.read(_integrity)
        ledger = await self._instance.brand.verifier.verify()
        return {
            "ok": integrity == "ok" and dangling == 0 and ledger["valid"],
            "integrity": integrity if dangling == 0 else f"{dangling} rows refer to rows that are not there",
            "ledger": {"valid": ledger["valid"], **ledger["head"]},
            "rows": rows,
            "duration_ms": round((perf_counter() - started) * 1000, 3),
        }


def _integrity(connection: sqlite3.Connection) -> tuple[str, int, dict[str, int]]:
    found = connection.execute(f"PRAGMA integrity_check({IO_PAGES_MAX})").fetchall()
    dangling = len(connection.execute("PRAGMA foreign_key_check").fetchmany(IO_PAGES_MAX))
    rows = {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("traces", "trace_bodies", "ledger", "usage_totals")
    }
    return "; ".join(row[0] for row in found), dangling, rows
