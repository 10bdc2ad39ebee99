"""What every engine promises; the simulated one too, so that the simulation is about real ones."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.runtimes.protocol import EngineError, Observed, RunState
from tests.runtimes.engines import DEADLINE_S, Engine


def running(seen: Observed | None) -> bool:
    return seen is not None and seen.state is RunState.RUNNING


async def test_a_started_instance_is_seen_running_with_what_it_was_started_from(engine: Engine) -> None:
    seen = await engine.started(engine.spec(epoch=3, revision="r9"))
    assert (seen.name, seen.epoch, seen.revision, seen.alive) == ("acme", 3, "r9", True)


async def test_nothing_is_seen_of_an_instance_that_was_never_started(engine: Engine) -> None:
    assert await engine.runtime.observe("acme") == []


async def test_starting_what_runs_already_changes_nothing(engine: Engine) -> None:
    spec = engine.spec()
    first = await engine.started(spec)
    await engine.runtime.start(spec)
    assert [each.run_id for each in await engine.runtime.observe()] == [first.run_id]


async def test_another_revision_does_not_start_beside_a_running_one(engine: Engine) -> None:
    await engine.started(engine.spec(revision="r1"))
    with pytest.raises(EngineError):
        await engine.runtime.start(engine.spec(revision="r2"))


async def test_a_paused_instance_is_seen_paused_and_goes_on_as_the_same_one(engine: Engine) -> None:
    before = await engine.started(engine.spec())
    await engine.runtime.pause("acme")
    await engine.until("acme", lambda seen: seen is not None and seen.state is RunState.PAUSED)
    await engine.runtime.resume("acme")
    after = await engine.until("acme", running)
    assert after is not None and before.run_id == after.run_id


async def test_pausing_twice_and_resuming_twice_is_as_good_as_once(engine: Engine) -> None:
    await engine.started(engine.spec())
    await engine.runtime.pause("acme")
    await engine.runtime.pause("acme")
    await engine.runtime.resume("acme")
    await engine.runtime.resume("acme")
    await engine.until("acme", running)


async def test_a_stopped_instance_is_seen_ended_and_can_be_removed(engine: Engine) -> None:
    await engine.started(engine.spec())
    await engine.runtime.stop("acme", 5.0)
    seen = await engine.seen("acme")
    assert seen is not None and not seen.alive
    await engine.runtime.remove("acme")
    assert await engine.runtime.observe() == []


async def test_a_paused_instance_can_be_stopped(engine: Engine) -> None:
    await engine.started(engine.spec())
    await engine.runtime.pause("acme")
    await engine.runtime.stop("acme", 5.0)
    seen = await engine.seen("acme")
    assert seen is not None and not seen.alive


async def test_stopping_and_removing_what_is_not_there_is_no_error(engine: Engine) -> None:
    await engine.runtime.stop("acme", 1.0)
    await engine.runtime.remove("acme")


async def test_a_running_instance_is_not_removed(engine: Engine) -> None:
    await engine.started(engine.spec())
    with pytest.raises(EngineError):
        await engine.runtime.remove("acme")


async def test_pausing_what_does_not_run_is_refused(engine: Engine) -> None:
    with pytest.raises(EngineError):
        await engine.runtime.pause("acme")


async def test_an_instance_killed_from_outside_is_seen_ended_with_its_code(engine: Engine) -> None:
    seen = await engine.started(engine.spec())
    engine.crash(seen)
    ended = await engine.until("acme", lambda found: found is not None and not found.alive)
    assert ended is not None and ended.exit_code == 137


async def test_an_ended_instance_is_started_anew_in_its_place(engine: Engine) -> None:
    first = await engine.started(engine.spec(revision="r1"))
    await engine.runtime.stop("acme", 5.0)
    second = await engine.started(engine.spec(revision="r2", epoch=2))
    assert first.run_id != second.run_id
    assert (second.revision, second.epoch) == ("r2", 2)


async def test_the_next_control_plane_adopts_what_runs(engine: Engine) -> None:
    before = await engine.started(engine.spec())
    engine.runtime = engine.reopened()
    assert [(each.run_id, each.state) for each in await engine.runtime.observe()] == [(before.run_id, RunState.RUNNING)]
    await engine.runtime.stop("acme", 5.0)
    after = await engine.seen("acme")
    assert after is not None and not after.alive


async def test_the_last_lines_of_what_an_instance_wrote_are_told_oldest_first(engine: Engine) -> None:
    await engine.started(engine.spec())
    assert await written(engine, "acme", lines=2) == ["listening", "ready"]
    assert await written(engine, "acme", lines=100) == ["preparing", "listening", "ready"]


async def test_what_an_instance_wrote_is_told_after_its_end_too(engine: Engine) -> None:
    await engine.started(engine.spec())
    await engine.runtime.stop("acme", 5.0)
    assert (await written(engine, "acme", lines=1)) == ["ready"]


async def test_nothing_was_written_by_one_that_was_never_started(engine: Engine) -> None:
    assert [line async for line in engine.runtime.logs("nobody", lines=10, follow=False)] == []


async def written(engine: Engine, name: str, lines: int) -> list[str]:
    """What its log ends with, as soon as it has said that it is ready: an engine may write it down a moment later."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + DEADLINE_S
    while True:
        found = [line async for line in engine.runtime.logs(name, lines=lines, follow=False)]
        if found and found[-1] == "ready":
            return found
        assert loop.time() < ends, f"only {found}"
        await asyncio.sleep(0.02)
