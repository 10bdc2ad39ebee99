"""The embedder's threads: jobs in order, their problems, their time, cancelling and closing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from instance.chute.embedding.late import FULL, LATE, EmbedderLate
from instance.chute.embedding.worker import TURNS, Worker, is_wanted
from tests.waiting import until


@pytest.mark.asyncio
async def test_jobs_are_done_in_order_on_one_other_thread() -> None:
    worker = Worker("test")
    threads = await asyncio.gather(*(worker.do(threading.get_ident) for _ in range(20)))
    order: list[int] = []
    await asyncio.gather(*(worker.do(order.append, number) for number in range(20)))
    worker.close()
    assert len(set(threads)) == 1 and threads[0] != threading.get_ident()
    assert order == list(range(20))


@pytest.mark.asyncio
async def test_what_a_job_raises_reaches_who_waits_and_the_next_job_is_done() -> None:
    worker = Worker("test")
    with pytest.raises(ZeroDivisionError):
        await worker.do(lambda: 1 / 0)
    assert await worker.do(lambda: 3) == 3
    worker.close()


@pytest.mark.asyncio
async def test_a_job_that_is_cancelled_before_its_turn_is_not_begun() -> None:
    worker = Worker("test")
    go, begun = threading.Event(), []
    first = worker.do(go.wait, 10)
    second = worker.do(begun.append, 2)
    second.cancel()
    third = worker.do(begun.append, 3)
    go.set()
    await asyncio.gather(first, third)
    worker.close()
    assert begun == [3]


@pytest.mark.asyncio
async def test_closing_finishes_the_job_at_hand_and_cancels_the_others() -> None:
    worker = Worker("test")
    begun, go = threading.Event(), threading.Event()

    def job() -> str:
        begun.set()
        go.wait(10)
        return "done"

    first, second = worker.do(job), worker.do(job)
    await asyncio.to_thread(begun.wait, 10)
    worker.close()
    go.set()
    assert await first == "done"
    assert second.cancelled()
    with pytest.raises(RuntimeError, match="closed"):
        worker.do(job)


def test_a_worker_that_nobody_closed_finishes_its_job_and_lets_the_process_end() -> None:
    program = (
        "import asyncio, time\n"
        "from instance.chute.embedding.worker import Worker\n"
        "async def main():\n"
        "    Worker('w').do(lambda: (time.sleep(0.3), print('finished', flush=True)))\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "finished", "")


class Held:
    """A worker of one thread that is at a job until it is let go."""

    def __init__(self, **how: float) -> None:
        self.worker = Worker("test")
        self.go, self.begun = threading.Event(), threading.Event()
        self.first = self.worker.do(self._job, **how)  # type: ignore[arg-type]

    def _job(self) -> bool:
        self.begun.set()
        self.go.wait(30)
        return is_wanted()

    async def at_work(self) -> Worker:
        assert await asyncio.to_thread(self.begun.wait, 10)
        return self.worker


@pytest.mark.asyncio
async def test_what_waits_too_long_is_given_up_and_never_begun() -> None:
    held, begun = Held(wait_s=0.01), []
    worker = await held.at_work()
    waited: list[tuple[bool, bool]] = []
    second = worker.do(begun.append, 2, wait_s=0.02, settled=lambda ns, in_time: waited.append((ns > 0, in_time)))
    for late in (second, held.first):
        with pytest.raises(EmbedderLate) as problem:
            await late
        assert problem.value.reason == LATE
    assert waited == [(True, False)]
    assert worker.lateness.counts == {LATE: 2, FULL: 0}
    assert worker.waiting == (0, 0)
    held.go.set()
    assert await worker.do(len, "four") == 4
    assert begun == []
    worker.close()


@pytest.mark.asyncio
async def test_what_is_done_in_time_is_not_late() -> None:
    worker = Worker("test")
    waited: list[bool] = []
    assert await worker.do(len, "four", wait_s=30, settled=lambda ns, in_time: waited.append(in_time)) == 4
    assert waited == [True]
    assert worker.lateness.counts == {LATE: 0, FULL: 0}
    worker.close()


@pytest.mark.asyncio
async def test_each_job_has_a_time_of_its_own() -> None:
    held = Held()
    worker = await held.at_work()
    patient = worker.do(len, "four", wait_s=30)
    with pytest.raises(EmbedderLate):
        await worker.do(len, "four", wait_s=0.01)
    assert not patient.done()
    held.go.set()
    assert await patient == 4
    worker.close()


@pytest.mark.asyncio
async def test_more_than_may_wait_is_refused_until_one_gives_up_its_place() -> None:
    held = Held()
    worker = await held.at_work()
    first, second = (worker.do(len, "four", most=2) for _ in range(2))
    with pytest.raises(EmbedderLate) as problem:
        worker.do(len, "four", most=2)
    assert problem.value.reason == FULL
    assert worker.lateness.counts[FULL] == 1
    background = worker.do(len, "four", most=2, for_call=False)  # has places of its own
    first.cancel()
    third = worker.do(len, "three", most=2)
    assert (worker.waiting, worker.abandoned) == ((2, 1), 1)
    held.go.set()
    assert (await second, await third, await background) == (4, 5, 4)
    worker.close()


@pytest.mark.asyncio
async def test_a_job_learns_that_nobody_waits_for_it_any_more() -> None:
    held = Held()
    worker = await held.at_work()
    held.first.cancel()
    held.go.set()
    await worker.do(len, "four")
    assert worker.abandoned == 1
    still_wanted = Held()
    still_wanted.go.set()
    assert await still_wanted.first is True
    worker.close()
    still_wanted.worker.close()


@pytest.mark.asyncio
async def test_what_a_call_waits_for_goes_first_and_the_others_have_a_turn_in_between() -> None:
    held, order = Held(), []
    worker = await held.at_work()
    others = [worker.do(order.append, f"other {number}", for_call=False) for number in range(2)]
    calls = [worker.do(order.append, f"call {number}") for number in range(TURNS + 1)]
    held.go.set()
    await asyncio.gather(*others, *calls)
    worker.close()
    assert order[: TURNS - 1] == [f"call {number}" for number in range(TURNS - 1)]  # the one at hand was a call's too
    assert order.index("other 0") == TURNS - 1
    assert order[-1] == "other 1"


@pytest.mark.asyncio
async def test_several_threads_do_several_jobs_at_a_time() -> None:
    worker = Worker("test", 3)
    together = threading.Barrier(3, timeout=30)
    assert sorted(await asyncio.gather(*(worker.do(together.wait) for _ in range(3)))) == [0, 1, 2]
    worker.close()


@pytest.mark.asyncio
async def test_it_is_told_how_long_no_thread_has_been_free() -> None:
    held = Held()
    worker = await held.at_work()
    assert worker.busy == 1
    assert worker.held_s > 0
    worker.grow(2)
    assert worker.held_s == 0
    held.go.set()
    await held.first

    async def is_free() -> bool:
        return worker.busy == 0

    await until(is_free)
    worker.close()
