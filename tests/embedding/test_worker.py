"""The embedder's thread: jobs in order, their problems, cancelling and closing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from instance.chute.embedding.worker import Worker


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
