"""Brand: the hash-chained ledger of everything that happened."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from instance.brand.approvals import Approvals
from instance.brand.feedback import Feedback
from instance.brand.ledger import EVENT_KIND, Ledger
from instance.brand.policies import Policies
from instance.brand.retention import Retention
from instance.brand.seals import Seals
from instance.brand.signing import Signer
from instance.brand.verification import Verifier
from instance.lookout.call_columns import CALL_KIND

if TYPE_CHECKING:
    from fastapi import APIRouter

    from instance.brand.evidence import Evidence
    from instance.core.core import Core

MIGRATIONS = ("brand", Path(__file__).parent / "migrations")


class Brand:
    """The app: its ledger, its signer, its verifier."""

    def __init__(self, core: Core, ledger: Ledger) -> None:
        self.core = core
        self.ledger = ledger
        self.signer = Signer(core)
        self.verifier = Verifier(core)
        self.seals = Seals(core, self.signer)
        self.retention = Retention(core, self.signer)
        self.feedback = Feedback(core)
        self.policies = Policies(core)
        self.approvals = Approvals(core)

    def start(self) -> None:
        """Register the folds; must be the first to do so, as others read the `seq`s that calls receive."""
        self.core.writer.register(CALL_KIND, self.ledger.fold_calls)
        self.core.writer.register(EVENT_KIND, self.ledger.fold_events)
        self.core.writer.register(EVENT_KIND, self.policies.fold)

    @cached_property
    def evidence(self) -> Evidence:
        """Its evidence packs."""
        from instance.brand.evidence import Evidence  # nobody asks for one at the start

        return Evidence(self)

    async def prune(self, before: str) -> int:
        """Remove ledger entries older than `before` (RFC 3339) and leave an anchor in their place; how many."""
        async with self.verifier.one_at_a_time:
            return await self.retention.prune(before)

    def router(self) -> APIRouter:
        """The routes below `/api/trust`."""
        from instance.brand import approval_routes, evidence_routes, feedback_routes, policy_routes, routes

        made = routes.router(self)
        for page in (evidence_routes, feedback_routes, policy_routes, approval_routes):
            made.routes += page.router(self).routes
        return made
