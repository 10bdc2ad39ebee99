"""Threads that do jobs for the event loop: what a call waits for first, and nothing that nobody waits for any more.

As `loop.run_in_executor`, for less of the loop's time (a call may hand over several jobs), with a bound on what waits, and on how long.
"""

from __future__ import annotations

import asyncio
import atexit
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread, local
from time import perf_counter_ns
from typing import Any, TypeVar

from instance.chute.embedding.late import FULL, LATE, EmbedderLate, Lateness

T = TypeVar("T")

EXIT_S = 30.0
"""How long the process waits at its end for the jobs that are being done."""
WAITING_MAX = 1_000
"""Jobs of either kind that may wait, where nothing else is said."""
TURNS = 8
"""So many jobs of calls are done before one of the others has its turn too, where both wait: neither waits for ever."""
HELD_S = 0.1
"""A timer that comes so much too late tells that the loop was held up."""
NS_PER_S = 10**9

_own = local()


class Job:
    """One thing to do. `settled(ns)` is told on the loop how long it was waited for, however that ended but by cancelling."""

    __slots__ = ("asked_ns", "begun_ns", "done", "due_s", "given", "settled", "work")

    def __init__(
        self,
        work: Callable[..., Any],
        given: tuple[Any, ...],
        done: asyncio.Future[Any],
        settled: Callable[[int, bool], None] | None,
    ) -> None:
        self.work = work
        self.given = given
        self.done = done
        self.settled = settled
        self.asked_ns = perf_counter_ns() if settled is not None else 0
        self.begun_ns = 0
        self.due_s = 0.0


def is_wanted() -> bool:
    """Within a job: whether anybody still waits for it. A long one asks now and then."""
    job: Job | None = getattr(_own, "job", None)
    return job is None or not job.done.done()


class Worker:
    """`await do(work, *given)` answers or raises what the work does. The threads start with the first job."""

    def __init__(self, name: str, threads: int = 1, lateness: Lateness | None = None) -> None:
        self.threads = threads
        """How many: until the first job but one that loads what the others need, by `grow`."""
        self.lateness = lateness or Lateness()
        self.abandoned = 0
        """Jobs that were taken off the queue, or stopped, because nobody waited for them any more."""
        self._name = name
        self._calls: deque[Job] = deque()
        self._others: deque[Job] = deque()
        self._turns: SimpleQueue[bool] = SimpleQueue()
        """One for each job that was queued; a false one ends a thread."""
        self._in_a_row = 0
        self._running: list[Thread] = []
        self._at_work: set[Job] = set()
        self._watched: set[Job] = set()
        """Those that have to be done in time."""
        self._timer: asyncio.TimerHandle | None = None
        self._next_s = 0.0
        self._closed = False

    def do(
        self,
        work: Callable[..., T],
        *given: Any,
        for_call: bool = True,
        wait_s: float = 0.0,
        most: int = WAITING_MAX,
        settled: Callable[[int, bool], None] | None = None,
    ) -> asyncio.Future[T]:
        """The work's result, to be awaited on the running loop; it is not begun when it is cancelled before its turn. `for_call`: a
        call waits for it. `wait_s`: how long it is waited for, queue and work; 0: for ever. `settled(ns, in_time)`: told how long it was.

        Raises `EmbedderLate` when `most` others wait already, and `RuntimeError` after `close`; the future raises it when the time
        is over.
        """
        if self._closed:
            raise RuntimeError(f"{self._name} is closed")
        lane = self._calls if for_call else self._others
        if len(lane) >= most:
            self._clear(lane)
            if len(lane) >= most:
                self.lateness.add(FULL)
                raise EmbedderLate(FULL)
        if not self._running:
            atexit.register(self._finish)
            self.grow(self.threads)
        loop = asyncio.get_running_loop()
        job = Job(work, given, loop.create_future(), settled)
        if wait_s:
            job.due_s = loop.time() + wait_s
            self._watched.add(job)
            if self._timer is None or job.due_s < self._next_s:
                self._wake_at(loop, job.due_s)
        lane.append(job)
        self._turns.put(True)
        return job.done

    def grow(self, threads: int) -> None:
        """Have at least so many threads."""
        self.threads = max(threads, self.threads)
        for number in range(len(self._running), self.threads):
            # A daemon, as a worker that nobody closed must not keep the process; a job is still finished at its end.
            thread = Thread(target=self._work, name=f"{self._name}-{number}" if number else self._name, daemon=True)
            self._running.append(thread)
            thread.start()

    @property
    def waiting(self) -> tuple[int, int]:
        """Jobs that wait for a thread: of calls, and others."""
        calls, others = (sum(not job.done.done() for job in [*lane]) for lane in (self._calls, self._others))
        return calls, others

    @property
    def busy(self) -> int:
        """Threads that do a job."""
        return len(self._at_work)

    @property
    def held_s(self) -> float:
        """For how long no thread has become free; 0 where one is."""
        at_work = [*self._at_work]
        if len(at_work) < self.threads:
            return 0.0
        return (perf_counter_ns() - max(job.begun_ns for job in at_work)) / NS_PER_S

    def close(self) -> None:
        """Take no more jobs and cancel those that wait; those that are being done are finished."""
        if self._closed:
            return
        self._closed = True
        for lane in (self._calls, self._others):
            while (job := _first(lane)) is not None:
                job.done.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._end()
        if self._running:
            atexit.unregister(self._finish)
            for thread in self._running:
                atexit.register(thread.join, EXIT_S)

    # --- on the loop ------------------------------------------------------------------------------------------------

    def _clear(self, lane: deque[Job]) -> None:
        """Take off the queue what nobody waits for any more."""
        for job in [*lane]:
            if job.done.done():
                try:
                    lane.remove(job)
                except ValueError:
                    continue  # a thread took it just now
                self.abandoned += 1
                with suppress(Empty):  # the turn that it no longer needs
                    self._turns.get_nowait()

    def _wake_at(self, loop: asyncio.AbstractEventLoop, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_s = at_s
        self._timer = loop.call_at(at_s, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the waiting for what is overdue. One timer serves all jobs, so that one that is done in time has none of its own."""
        self._timer = None
        now_s = loop.time()
        held_s = now_s - self._next_s
        if held_s > HELD_S:
            # The loop itself was held up: what was done meanwhile has not been told yet.
            for job in self._watched:
                job.due_s += held_s
        late = [job for job in self._watched if job.due_s <= now_s]
        for job in late:
            if not job.done.done():
                self.lateness.add(LATE)
                job.done.set_exception(EmbedderLate(LATE))
                self._told(job, in_time=False)
        self._watched = {job for job in self._watched if not job.done.done()}
        if late:
            self._clear(self._calls)
            self._clear(self._others)
        if self._watched and not self._closed:
            self._wake_at(loop, min(job.due_s for job in self._watched))

    def _settle(self, job: Job, result: Any, problem: BaseException | None) -> None:
        self._watched.discard(job)
        done = job.done
        if done.done():
            return
        if problem is not None:
            done.set_exception(problem)
        else:
            done.set_result(result)
        self._told(job, in_time=True)

    def _told(self, job: Job, *, in_time: bool) -> None:
        if job.settled is not None:
            job.settled(perf_counter_ns() - job.asked_ns, in_time)

    # --- on the threads ---------------------------------------------------------------------------------------------

    def _next(self) -> Job | None:
        """The job whose turn it is; `None` where that was taken off the queue."""
        first, second = self._calls, self._others
        if self._in_a_row >= TURNS and second:
            first, second = second, first
        job = _first(first)
        if job is None:
            first, job = second, _first(second)
        self._in_a_row = self._in_a_row + 1 if first is self._calls else 0
        return job

    def _work(self) -> None:
        turns = self._turns
        while turns.get():
            job = self._next()
            if job is None:
                continue
            if job.done.done():
                self.abandoned += 1
                continue
            _own.job = job
            job.begun_ns = perf_counter_ns()
            self._at_work.add(job)
            try:
                result, problem = job.work(*job.given), None
            except BaseException as raised:  # given to whoever waits for it
                result, problem = None, raised
            self._at_work.discard(job)
            _own.job = None
            if job.done.done():
                self.abandoned += 1
            try:
                job.done.get_loop().call_soon_threadsafe(self._settle, job, result, problem)
            except RuntimeError:
                pass  # the loop is closed: nobody waits
            del job, result, problem  # not kept until the next job comes

    def _end(self) -> None:
        for _ in self._running:
            self._turns.put(False)

    def _finish(self) -> None:
        self._end()
        for thread in self._running:
            thread.join(EXIT_S)


def _first(lane: deque[Job]) -> Job | None:
    try:
        return lane.popleft()
    except IndexError:
        return None
