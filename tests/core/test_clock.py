from __future__ import annotations

import asyncio

from instance.core.clock import NS_PER_S, Clock, FakeClock


def test_the_clock_reads_utc_and_a_time_that_only_grows() -> None:
    clock = Clock()
    assert clock.wall_ns() > 1_700_000_000 * NS_PER_S
    assert clock.mono_ns() <= clock.mono_ns()


def test_a_fake_clock_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock()
    wall, mono = clock.wall_ns(), clock.mono_ns()
    assert (clock.wall_ns(), clock.mono_ns()) == (wall, mono)
    clock.advance(1.5)
    assert (clock.wall_ns() - wall, clock.mono_ns() - mono) == (1_500_000_000, 1_500_000_000)


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    clock = FakeClock()
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(sleeper("late", 3)), asyncio.create_task(sleeper("early", 1))]
    await asyncio.sleep(0)
    clock.advance(0.5)
    await asyncio.sleep(0)
    assert woken == []
    clock.advance(10)
    await asyncio.gather(*tasks)
    assert woken == ["early", "late"]


def test_a_jump_of_the_wall_clock_leaves_the_monotonic_one() -> None:
    clock = FakeClock()
    mono = clock.mono_ns()
    clock.set_wall(5)
    assert (clock.wall_ns(), clock.mono_ns()) == (5, mono)
