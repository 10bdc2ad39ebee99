"""Lookout: the traces of calls, what they cost, and the alerts on them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from instance.lookout import costs, store
from instance.lookout.alerts.alerts import Alerts
from instance.lookout.call_columns import CALL_KIND
from instance.lookout.call_lookup import KnownCall, find_call
from instance.lookout.retention import Retention
from instance.lookout.trace_record import listed
from instance.lookout.traces_fold import TracesFold

if TYPE_CHECKING:
    from fastapi import APIRouter

    from instance.core.core import Core

PAGE = 500

MIGRATIONS = ("lookout", Path(__file__).parent / "migrations")


class Lookout:
    """The app. `ledger_seqs` tells which entries of the ledger the calls of the current slice have received."""

    def __init__(self, core: Core, ledger_seqs: Callable[[], Sequence[int]]) -> None:
        self.core = core
        self._fold = TracesFold(ledger_seqs)
        self._retention = Retention(core)
        self.alerts = Alerts(core)

    def start(self) -> None:
        """Register the fold; Brand's must be registered before."""
        self.core.writer.register(CALL_KIND, self._fold)

    async def prune(self, rows_before_ns: int, bodies_before_ns: int) -> tuple[int, int]:
        """Remove older traces and texts; how many of each. 0 removes none."""
        return await self._retention.prune(rows_before_ns, bodies_before_ns)

    async def prune_team(self, team: str, before_ns: int) -> int:
        """Remove older traces of a team with their texts; how many."""
        return await self._retention.prune_team(team, before_ns)

    async def prune_due(self, rows_kept_ns: int, texts_kept_ns: int) -> int | None:
        """When the next trace or text will be older than it may be; None when there is none."""
        return await self._retention.due(rows_kept_ns, texts_kept_ns)

    async def find_call(self, name: str, team: str = "", key_id: str = "") -> KnownCall | None:
        """The call with this trace id, request id or answer id (the key's own first), once all until now is on record."""
        await self.core.writer.drain()
        return await self.core.database.read(lambda connection: find_call(connection, name, team, key_id))

    @staticmethod
    def rated(connection: sqlite3.Connection, trace_id: str, score: float | None) -> None:
        """Put the mean judgement, from -1 to 1, on a trace. In the writer's transaction."""
        connection.execute("UPDATE traces SET detail = json_set(detail, '$.rating', ?) WHERE id = ?", (score, trace_id))

    @staticmethod
    def texts_of(connection: sqlite3.Connection, trace_id: str) -> tuple[bytes, bytes] | None:
        """The stored request and answer of a call; `None` when they were not kept."""
        found = store.one(connection, trace_id, "")
        return found[1] if found is not None else None

    async def costs_document(self, start_ns: int, end_ns: int) -> AsyncIterator[bytes]:
        """What calls of a period cost, by provider and model, as one JSON document."""
        groups = ("provider", "model")
        sums = await self.core.database.read(
            lambda connection: costs.costs(connection, start_ns, end_ns, groups, store.TraceFilter())
        )
        yield orjson.dumps(sums, option=orjson.OPT_APPEND_NEWLINE)

    async def traces_of(self, start_ns: int, end_ns: int) -> AsyncIterator[bytes]:
        """The traces of a period without their texts, one JSON object a line, oldest first."""
        narrowed = store.TraceFilter()
        narrowed.add("created_at_ns >= ? AND created_at_ns < ?", start_ns, end_ns)
        after: tuple[int, ...] | None = None
        while True:
            page = partial(
                store.traces, narrowed=narrowed, sort="created_at", ascending=True, limit=PAGE, offset=0, after=after
            )
            rows = await self.core.database.read(page)
            if not rows:
                return
            yield b"".join(orjson.dumps(listed(row, row["tags"]), option=orjson.OPT_APPEND_NEWLINE) for row in rows)
            after = (rows[-1]["created_at_ns"], rows[-1]["n"])

    def router(self) -> APIRouter:
        """The routes below `/api/observe`."""
        from instance.lookout.routes import router

        return router(self)
