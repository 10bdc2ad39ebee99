"""The machine's own time."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """`Clock` of a real control plane."""

    def now(self) -> float:
        """Wall clock."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let others run meanwhile."""
        await asyncio.sleep(seconds)
