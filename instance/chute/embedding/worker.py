"""One thread that does one job after the other for the event loop.

As `loop.run_in_executor` with one thread, for less of the loop's time: a call may hand over several jobs.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

Job = tuple[Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any]"]
EXIT_S = 30.0
"""How long the process waits at its end for the job that is being done."""


class Worker:
    """`await do(job, *given)` answers or raises what the job does. The thread starts with the first job."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._closed = False

    def do(self, job: Callable[..., T], *given: Any) -> asyncio.Future[T]:
        """The job's result, to be awaited on the running loop; it is not begun when it is cancelled before its turn. Raises
        `RuntimeError` after `close`."""
        if self._closed:
            raise RuntimeError(f"{self._name} is closed")
        if self._thread is None:
            # A daemon, as a worker that nobody closed must not keep the process; a job is still finished at its end.
            self._thread = Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True)
            self._thread.start()
            atexit.register(self._finish)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((job, given, done))
        return done

    def close(self) -> None:
        """Take no more jobs and cancel those that wait; the one that is being done is finished."""
        if self._closed:
            return
        self._closed = True
        with suppress(Empty):  # the thread takes from it too, so that whether there is one more can't be asked before
            while True:
                each = self._jobs.get_nowait()
                if each is not None:
                    each[2].cancel()
        self._jobs.put(None)
        if self._thread is not None:
            atexit.unregister(self._finish)
            atexit.register(self._thread.join, EXIT_S)

    def _finish(self) -> None:
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join(EXIT_S)


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while (each := jobs.get()) is not None:
        job, given, done = each
        if done.cancelled():
            continue
        try:
            result, problem = job(*given), None
        except BaseException as raised:  # given to whoever waits for it
            result, problem = None, raised
        try:
            done.get_loop().call_soon_threadsafe(_settle, done, result, problem)
        except RuntimeError:
            pass  # the loop is closed: nobody waits
        del each, job, given, done, result, problem  # not kept until the next job comes


def _settle(done: asyncio.Future[Any], result: Any, problem: BaseException | None) -> None:
    if done.done():
        return
    if problem is not None:
        done.set_exception(problem)
    else:
        done.set_result(result)
