"""Holds callers until their tenant is awake, or says at once when to come again."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from control_plane.routing import answers
from control_plane.routing.answers import Refusal
from control_plane.routing.caller import CallerLeft
from control_plane.routing.held import Full, HeldCalls, HoldLimits, Place
from control_plane.routing.pace import monotonic, retry_after_s
from control_plane.routing.wake import Wake, Waker

SHED = ("tenant", "all", "displaced", "expected", "deadline", "passing_on")
"""Why a call was answered `waking`: its tenant, or all tenants, hold as many as they may; its place was given to a tenant
that had none; it would have waited beyond its deadline; it did; too many are under way."""


class Holding:
    """A wake is begun for every tenant that is asked for, whether its call finds a place or not."""

    def __init__(self, waker: Waker, limits: HoldLimits) -> None:
        self._waker = waker
        self._shed: Counter[str] = Counter()
        self.calls = HeldCalls(limits)

    async def until_awake(self, slug: str, left: asyncio.Event, end: float) -> Refusal | None:
        """None once the tenant is routed to; else why the call is not held, or not any longer.

        `left` is set when the caller hangs up, which raises `CallerLeft`; `end` is by `pace.monotonic`.
        """
        if await self._waker.routed(slug):  # it may have come back while the edge was handing the call over
            return None
        wake = self._waker.begin(slug)
        if self._waker.is_queued(wake) and wake.expected_s() > end - monotonic():
            return self.shed("expected", wake.expected_s())
        try:
            with self.calls.place(slug) as place:
                return await self._hold(wake, place, left, end)
        except Full as full:
            return self.shed(full.why, wake.expected_s())

    async def _hold(self, wake: Wake, place: Place, left: asyncio.Event, end: float) -> Refusal | None:
        gone, lost = asyncio.create_task(left.wait()), asyncio.create_task(place.lost.wait())
        try:
            await asyncio.wait(
                (wake.task, gone, lost),
                timeout=max(0.0, end - monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if wake.task.done():
                return wake.task.result()
            if gone.done():
                raise CallerLeft
            return self.shed("displaced" if lost.done() else "deadline", wake.expected_s())
        finally:
            gone.cancel()
            lost.cancel()

    def shed(self, why: str, expected_s: float) -> Refusal:
        """The answer to a call that is not held, counted under one of `SHED`."""
        self._shed[why] += 1
        return answers.waking(retry_after_s(expected_s))

    def stats(self) -> dict[str, Any]:
        """What is held now, and what became of all that came since the start."""
        limits = self.calls.limits
        return {
            "held": {"calls": len(self.calls), "tenants": self.calls.tenants, "body_bytes": self.calls.body_bytes},
            "limits": {
                "calls": limits.calls,
                "calls_per_tenant": limits.calls_per_tenant,
                "body_bytes": limits.body_bytes,
            },
            "shed": {why: self._shed[why] for why in SHED},
            "wakes": {"under_way": self._waker.under_way(), **self._waker.outcomes()},
            "wake_seconds": self._waker.seconds.shape(),
        }
