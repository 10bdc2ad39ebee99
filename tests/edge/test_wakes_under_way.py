"""How the activator follows many wakes at once, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from control_plane.domain.tenants import Status
from control_plane.routing.plane_client import Told
from control_plane.routing.wake import ASK_AGAIN_S, ASK_LATEST_S, FEW, Waker
from tests.simulation import virtual_time

HERD = [f"herd{n}" for n in range(2 * FEW)]


class Plane:
    """Says of every tenant that it is awake in so long."""

    def __init__(self, awake_in_s: float) -> None:
        self.awake_in_s = awake_in_s
        self.asked: Counter[str] = Counter()

    async def wake(self, slug: str, wait_s: float) -> Told:
        self.asked[slug] += 1
        await asyncio.sleep(wait_s)
        return Told(Status.ASLEEP, awake_in_s=self.awake_in_s)


class Table:
    """Who is routed to; `looked_at` counts the looks at single tenants."""

    def __init__(self) -> None:
        self.routed: set[str] = set()
        self.looked_at: Counter[str] = Counter()

    async def is_routed(self, slug: str) -> bool:
        self.looked_at[slug] += 1
        return slug in self.routed

    def changed_at(self) -> int:
        return len(self.routed)

    async def named(self) -> set[str]:
        return self.routed


async def never_resumed(slug: str) -> bool:
    return False


def story(tell: Callable[[Waker, Plane, Table], Awaitable[None]], awake_in_s: float) -> None:
    async def run() -> None:
        plane, table = Plane(awake_in_s), Table()
        waker = Waker(plane, table, never_resumed)
        try:
            await tell(waker, plane, table)
        finally:
            await waker.close()

    virtual_time.run(run())


def test_what_has_long_to_wait_is_asked_about_seldom() -> None:
    async def tell(waker: Waker, plane: Plane, table: Table) -> None:
        for slug in HERD:
            waker.begin(slug)
        await asyncio.sleep(3 * ASK_LATEST_S + 1)
        assert set(plane.asked.values()) == {4}

    story(tell, awake_in_s=600)


def test_what_is_nearly_up_is_asked_about_often() -> None:
    async def tell(waker: Waker, plane: Plane, table: Table) -> None:
        for slug in HERD:
            waker.begin(slug)
        await asyncio.sleep(3 * ASK_AGAIN_S + 1)
        assert set(plane.asked.values()) == {4}

    story(tell, awake_in_s=1)


def test_a_change_of_the_table_ends_its_tenants_wake_and_is_no_reason_to_look_at_the_others() -> None:
    async def tell(waker: Waker, plane: Plane, table: Table) -> None:
        wakes = {slug: waker.begin(slug) for slug in HERD}
        await asyncio.sleep(1)
        before = table.looked_at.copy()
        for slug in HERD[:3]:
            table.routed.add(slug)
            assert await wakes[slug].task is None
        await asyncio.sleep(1)
        assert [slug for slug in HERD if table.looked_at[slug] > before[slug]] == HERD[:3]
        assert waker.under_way() == len(HERD) - 3

    story(tell, awake_in_s=600)
