"""What the loop remembers of a tenant between two looks. All of it may be lost: it only saves work."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from control_plane.reconcile import actions as act
from control_plane.reconcile.sighting import Sighting

BACK_OFF_FIRST_S = 0.25
BACK_OFF_MOST_S = 60.0


@dataclass(slots=True)
class Track:
    """One tenant's place in the loop."""

    task: asyncio.Task[None] | None = None
    verifying: asyncio.Task[None] | None = None
    verification: act.Action | None = None  # what `verifying` does, or is to do
    asked: bool = False  # something changed since the last look began
    failures: int = 0
    trouble: str = ""
    retry_at: float = 0.0  # monotonic; not looked at before, unless asked
    verify_at: float = 0.0  # monotonic; no verification before
    look_at: float = 0.0  # monotonic; when a settled tenant is looked at again without a reason
    settled: object = None  # what it looked like when nothing was left to do
    unready_since: float | None = None
    run_id: str = ""
    end_known: bool = False  # that no instance is there is the loop's own doing, or was said already
    usage_at: float = 0.0
    sighting: Sighting | None = None  # what was seen of it last

    def failed(self, trouble: str, now: float, chance: random.Random) -> None:
        """Wait longer after each failure, by a random part, so that many do not come back together."""
        self.failures += 1
        self.trouble = trouble
        longest = min(BACK_OFF_MOST_S, BACK_OFF_FIRST_S * 2.0 ** min(self.failures - 1, 16))
        self.retry_at = now + longest * chance.uniform(0.5, 1.0)

    def worked(self) -> None:
        """Forget the failures."""
        self.failures, self.trouble, self.retry_at = 0, "", 0.0

    def back_off(self, now: float) -> dict[str, Any]:
        """What stood in the way, how often in a row, and when it is tried again."""
        return {
            "failures": self.failures,
            "trouble": self.trouble or None,
            "retry_in_s": round(max(0.0, self.retry_at - now), 3) if self.failures else None,
        }
