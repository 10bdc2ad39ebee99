"""Brings a tenant to where a call can be passed on, once at a time however many callers wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from control_plane.domain.tenants import Status
from control_plane.reconcile.ports import Unavailable
from control_plane.routing.answers import Refusal, no_such_tenant, suspended, unavailable, waking
from control_plane.routing.plane_client import PlaneDown, PlanePort

PLANE_WAIT_S = 2  # then it is asked again: somebody may have put the tenant to sleep meanwhile
LINK_POLL_S = 0.005
RETRY_S = 0.1

ResumeNap = Callable[[str], Awaitable[bool]]
IsRouted = Callable[[str], Awaitable[bool]]


class Waker:
    """Asks the control plane to wake tenants; while it is down, brings back those that only nap."""

    def __init__(self, plane: PlanePort, is_routed: IsRouted, resume_nap: ResumeNap) -> None:
        self._plane = plane
        self._is_routed = is_routed
        self._resume_nap = resume_nap
        self._running: dict[str, asyncio.Task[Refusal | None]] = {}

    async def wake(self, slug: str, deadline_s: float) -> Refusal | None:
        """None once the tenant is routed to; else why not, after `deadline_s` at the latest.

        A wake once begun goes on when its callers leave.
        """
        task = self._running.get(slug)
        if task is None:
            task = asyncio.create_task(self._wake(slug, deadline_s))
            self._running[slug] = task
            task.add_done_callback(lambda _: self._running.pop(slug, None))
        done, _ = await asyncio.wait((task,), timeout=deadline_s)
        return task.result() if done else waking()

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._running.values()):
            task.cancel()

    async def routed(self, slug: str) -> bool:
        """True if new calls reach the instance: its link is the socket that it listens on now."""
        return await self._is_routed(slug)

    async def _wake(self, slug: str, deadline_s: float) -> Refusal | None:
        end = asyncio.get_running_loop().time() + deadline_s
        while (left := end - asyncio.get_running_loop().time()) > 0:
            try:
                refusal, awake = await self._ask_plane(slug, min(PLANE_WAIT_S, left))
            except PlaneDown:
                if not await self._resume_nap(slug):
                    return waking(5)
                refusal, awake = None, True
            except Unavailable:
                refusal, awake = None, False
            if refusal is not None:
                return refusal
            if awake and await self._becomes_routed(slug):
                return None
            await asyncio.sleep(RETRY_S)
        return waking()

    async def _ask_plane(self, slug: str, wait_s: float) -> tuple[Refusal | None, bool]:
        told = await self._plane.wake(slug, wait_s)
        match told.status:
            case Status.SUSPENDED:
                return suspended(told.reason), False
            case Status.DELETED:
                return no_such_tenant(), False
            case Status.FAILED:
                return unavailable(told.failure), False
            case status:
                return None, status is Status.RUNNING

    async def _becomes_routed(self, slug: str) -> bool:
        """The plane called it running; its link follows within moments, or it is on its way to sleep again."""
        for _ in range(round(0.5 / LINK_POLL_S)):
            if await self.routed(slug):
                return True
            await asyncio.sleep(LINK_POLL_S)
        return False
