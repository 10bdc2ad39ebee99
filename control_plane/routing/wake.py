"""Brings a tenant to where a call can be passed on, once at a time however many callers wait for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from control_plane.domain.tenants import Status
from control_plane.reconcile.ports import Unavailable
from control_plane.routing.answers import Refusal, no_such_tenant, suspended, unavailable, waking
from control_plane.routing.links import Links, RoutingTable
from control_plane.routing.pace import Histogram, Pace, monotonic
from control_plane.routing.plane_client import PlaneDown, PlanePort

PLANE_WAIT_S = 5.0  # for which the plane may hold a question; then it is asked again: somebody may have ended the wake
FEW = 32  # wakes under way until which each question is held; beyond, the plane answers at once
ASK_AGAIN_S = 2.0
ASK_LATEST_S = (
    10.0  # what has long to wait is asked for less often: with hundreds under way, asking would be most of the work
)
RETRY_S = 0.1
PLANE_AWAY_RETRY_S = 5
GIVE_UP_S = 600.0  # the plane keeps a tenant in its queue however long this side follows it

ResumeNap = Callable[[str], Awaitable[bool]]


class Wake:
    """One tenant on its way. Awaited by any number of callers; it goes on when they leave."""

    def __init__(self, left_s: Callable[[Wake], float]) -> None:
        self._left_s = left_s
        self._promised: float | None = None  # monotonic; by the plane
        self.in_queue: bool | None = None  # behind others, by the plane; None = it has not said
        self.begun_at = monotonic()
        self.task: asyncio.Task[Refusal | None]

    def promise(self, in_s: float, *, in_queue: bool) -> None:
        """The plane says that it will be awake then, and whether others are started before it."""
        self._promised = monotonic() + in_s
        self.in_queue = in_queue

    def expected_s(self) -> float:
        """Seconds until it is awake, as far as can be told."""
        if self._promised is not None:
            return max(0.0, self._promised - monotonic())
        return self._left_s(self)


class Waker:
    """Asks the control plane to wake tenants; while it is down, brings back those that only nap."""

    def __init__(self, plane: PlanePort, table: RoutingTable, resume_nap: ResumeNap) -> None:
        self._plane = plane
        self._links = Links(table)
        self._resume_nap = resume_nap
        self._running: dict[str, Wake] = {}
        self._pace = Pace()
        self._ended: Counter[str] = Counter()
        self.seconds = Histogram()  # of those that ended awake

    def begin(self, slug: str) -> Wake:
        """The wake of this tenant, which is under way from now on."""
        wake = self._running.get(slug)
        if wake is None:
            wake = self._running[slug] = Wake(self._left_of)
            wake.task = asyncio.create_task(self._wake(slug, wake), name=f"wake {slug}")
        return wake

    async def close(self) -> None:
        """Give up what is under way."""
        for wake in list(self._running.values()):
            wake.task.cancel()
        self._links.close()

    async def routed(self, slug: str) -> bool:
        """True if new calls reach the instance."""
        return await self._links.is_routed(slug)

    def is_queued(self, wake: Wake) -> bool:
        """True if others are brought up before it. How long that takes follows from how long it took others; of one that is
        worked on now it says nothing: after an engine that hung, nobody would be held any more."""
        return self.under_way() > FEW if wake.in_queue is None else wake.in_queue

    def under_way(self) -> int:
        """How many tenants are on their way."""
        return len(self._running)

    def _left_of(self, wake: Wake) -> float:
        """By its place among those under way and the pace at which they end."""
        ahead = 0
        for each in self._running.values():  # in the order in which they were begun
            if each is wake:
                break
            ahead += 1
        return self._pace.wait_s(ahead)

    def outcomes(self) -> dict[str, int]:
        """How many wakes ended with the tenant awake, with a refusal, or were followed no longer."""
        return {outcome: self._ended[outcome] for outcome in ("awake", "refused", "given_up")}

    async def _wake(self, slug: str, wake: Wake) -> Refusal | None:
        asking = asyncio.create_task(self._ask_on(slug, wake))
        routed = asyncio.create_task(self._links.until_routed(slug))
        outcome = "given_up"
        try:
            done, _ = await asyncio.wait((asking, routed), timeout=GIVE_UP_S, return_when=asyncio.FIRST_COMPLETED)
            if routed in done:
                outcome = "awake"
                self.seconds.add(monotonic() - wake.begun_at)
                return None
            if asking in done:
                outcome = "refused"
                return asking.result()
            return waking()
        finally:
            asking.cancel()
            routed.cancel()
            self._links.forget(slug)
            del self._running[slug]
            self._ended[outcome] += 1
            if outcome == "awake":
                self._pace.ended(wake.begun_at, bool(self._running))

    async def _ask_on(self, slug: str, wake: Wake) -> Refusal:
        """Ask for it again and again; returns only when it will not be woken, with the reason."""
        while True:
            pause_s = RETRY_S
            try:
                refusal, on_its_way = await self._ask_plane(slug, wake)
                if refusal is not None:
                    return refusal
                if on_its_way and self.under_way() > FEW:
                    pause_s = min(ASK_LATEST_S, max(ASK_AGAIN_S, wake.expected_s() / 2))
            except PlaneDown:
                if not await self._resume_nap(slug):
                    return waking(PLANE_AWAY_RETRY_S)
                pause_s = ASK_AGAIN_S
            except Unavailable:
                pass
            await asyncio.sleep(pause_s)

    async def _ask_plane(self, slug: str, wake: Wake) -> tuple[Refusal | None, bool]:
        """Why it will not be woken, or whether it is on its way."""
        told = await self._plane.wake(slug, PLANE_WAIT_S if self.under_way() <= FEW else 0.0)
        match told.status:
            case Status.SUSPENDED:
                return suspended(told.reason), False
            case Status.DELETED:
                return no_such_tenant(), False
            case Status.FAILED:
                return unavailable(told.failure), False
            case status:
                if told.awake_in_s is not None:
                    wake.promise(told.awake_in_s, in_queue=told.place > 0)
                return None, status is not Status.RUNNING
