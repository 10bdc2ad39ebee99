import asyncio
from math import inf
from time import perf_counter

import pytest

from instance.chute.time_limits import TimeLimit, TimeLimits
from tests.mock_upstream import until


async def limited(limits: TimeLimits, seconds: float) -> str:
    limit = TimeLimit(asyncio.current_task(), perf_counter() + seconds)
    limits.add(limit)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if not limit.is_cause():
            raise
        return "struck"
    finally:
        limits.remove(limit)
    return "never"


async def test_a_limit_cancels_its_own_task_and_no_other() -> None:
    limits = TimeLimits()
    other = asyncio.create_task(limited(limits, 60))
    assert await limited(limits, 0.01) == "struck"
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
    assert not other.done()
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other


async def test_a_cancellation_from_elsewhere_is_not_taken_for_the_limits() -> None:
    limits = TimeLimits()
    task = asyncio.create_task(limited(limits, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_elsewhere_wins_over_a_limit_that_strikes_too() -> None:
    limits = TimeLimits(now=lambda: 1e12)
    task = asyncio.create_task(limited(limits, 0.0))
    await asyncio.sleep(0)
    limits._look()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_timer_runs_when_there_is_no_limit() -> None:
    limits = TimeLimits()
    limit = TimeLimit(asyncio.current_task(), perf_counter() + 60)
    limits.add(limit)
    limits.remove(limit)
    await until(lambda: not limits.armed)


async def test_a_limit_that_was_moved_to_never_does_not_strike_until_it_is_set_again() -> None:
    limits = TimeLimits()
    limit = TimeLimit(asyncio.current_task(), inf)
    limits.add(limit)
    await asyncio.sleep(0.05)
    assert not limit.struck
    limit.until = 0.0
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(5)
    assert limit.is_cause()
    limits.remove(limit)
