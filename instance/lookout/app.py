"""Lookout: the traces of calls, what they cost, and the alerts on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from instance.lookout.alerts.alerts import Alerts
from instance.lookout.call_columns import CALL_KIND
from instance.lookout.retention import Retention
from instance.lookout.traces_fold import TracesFold

if TYPE_CHECKING:
    from fastapi import APIRouter

    from instance.core.core import Core

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

    def router(self) -> APIRouter:
        """The routes below `/api/observe`."""
        from instance.lookout.routes import router

        return router(self)
