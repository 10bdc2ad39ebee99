"""Looks that are shared by who asks at the same time."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.backups.shared_look import SharedLook


class Slow:
    """A look that ends when the test says so and tells how many began before it."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        mine = self.begun
        await self.go_on.wait()
        return mine


async def test_who_asks_while_a_look_runs_gets_the_next_one_and_shares_it() -> None:
    slow = Slow()
    shared = SharedLook(slow)
    first = asyncio.create_task(shared.fresh())
    while not slow.begun:
        await asyncio.sleep(0)
    later = [asyncio.create_task(shared.fresh()) for _ in range(10)]
    await asyncio.sleep(0)
    slow.go_on.set()
    assert await first == 1
    assert set(await asyncio.gather(*later)) == {2}
    assert await shared.fresh() == 3


async def test_a_failure_is_everybodys_and_the_next_look_is_made_all_the_same() -> None:
    answers: list[int | None] = [None, 7]

    async def look() -> int:
        answer = answers.pop(0)
        if answer is None:
            raise OSError("away")
        return answer

    shared = SharedLook(look)
    outcomes = await asyncio.gather(shared.fresh(), shared.fresh(), return_exceptions=True)
    assert [type(each) for each in outcomes] == [OSError, OSError]
    assert await shared.fresh() == 7


async def test_one_who_asks_no_longer_does_not_end_the_look_of_the_others() -> None:
    slow = Slow()
    shared = SharedLook(slow)
    left, stays = asyncio.create_task(shared.fresh()), asyncio.create_task(shared.fresh())
    await asyncio.sleep(0)
    left.cancel()
    slow.go_on.set()
    assert await stays == 1
    with pytest.raises(asyncio.CancelledError):
        await left
