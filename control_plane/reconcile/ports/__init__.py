"""Everything the reconciler sees and does, as small protocols; the real parts and the simulation stand behind them.

Rules for whoever implements one: every method may be called again after a crash at any point and must then end in the
same state (idempotent); a method that returns has done what it says; one that could not raises `Unavailable` (try
again later) or an exception of its own that names the reason. No method blocks the event loop.
"""

from __future__ import annotations

from typing import Protocol

from control_plane.reconcile.ports.backups import Backups, RestoreOutcome, RestoreResult, Synced, VerifyResult
from control_plane.reconcile.ports.edge import Edge
from control_plane.reconcile.ports.instances import Activity, Drained, Instances, Probe, Verified
from control_plane.reconcile.ports.store import Store
from control_plane.reconcile.ports.volumes import LedgerHead, Volumes, VolumeState

__all__ = [
    "Activity",
    "Backups",
    "Clock",
    "Drained",
    "Edge",
    "Instances",
    "LedgerHead",
    "Probe",
    "RestoreOutcome",
    "RestoreResult",
    "Store",
    "Synced",
    "Unavailable",
    "Verified",
    "VerifyResult",
    "VolumeState",
    "Volumes",
]


class Unavailable(Exception):
    """The other side could not be reached or is not ready for it now; trying again later may work."""


class Clock(Protocol):
    """Time, so that a simulation can make its own."""

    def now(self) -> float:
        """Wall clock, seconds since 1970 UTC; may jump."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""

    async def sleep(self, seconds: float) -> None: ...
