"""Brand: the hash-chained ledger of everything that happened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from instance.brand.ledger import EVENT_KIND, Ledger
from instance.brand.signing import Signer
from instance.brand.verification import Verifier
from instance.lookout.call_columns import CALL_KIND

if TYPE_CHECKING:
    from fastapi import APIRouter

    from instance.core.core import Core

MIGRATIONS = ("brand", Path(__file__).parent / "migrations")


class Brand:
    """The app: its ledger, its signer, its verifier."""

    def __init__(self, core: Core, ledger: Ledger) -> None:
        self.core = core
        self.ledger = ledger
        self.signer = Signer(core)
        self.verifier = Verifier(core)

    def start(self) -> None:
        """Register the folds; must be the first to do so, as others read the `seq`s that calls receive."""
        self.core.writer.register(CALL_KIND, self.ledger.fold_calls)
        self.core.writer.register(EVENT_KIND, self.ledger.fold_events)

    def router(self) -> APIRouter:
        """The routes below `/api/trust`."""
        from instance.brand.routes import router

        return router(self)
