"""Runs the jobs of batches: who is next, how many at once, again after failures, and never twice with two results."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from instance.core.errors import StockyardError
from instance.core.principals import CLIENT_TEAM
from instance.forge import store
from instance.forge.adaptive import AdaptiveLimit
from instance.forge.batch import Batch
from instance.forge.batch_callback import BatchCallback
from instance.forge.fair_queue import FairQueue, Lane, Waiting
from instance.forge.job_call import Outcome, attempt, refusal
from instance.forge.queue_settings import QueueSettings
from instance.forge.running_jobs import RunningJobs

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.core.core import Core
    from instance.core.principals import Principal

NS = 1_000_000_000
LEASE_S = 3600.0
"""How long one attempt may take before the job is given to another."""
LOOK_S = 1.0
"""How often the queue is looked at when nothing happens: for windows, expiry and limits that grow."""
SEAL = b"batch job"
SCHEDULED = "batches"

log = logging.getLogger("stockyard.forge")


class BatchRunner:
    """Works while the module batchqueue is on; what it holds in memory is read from the tables at its start."""

    def __init__(self, core: Core, chute: Chute, settings: QueueSettings) -> None:
        self._core = core
        self._chute = chute
        self._settings = settings
        self._queue = FairQueue(settings.weights)
        self._batches: dict[str, Batch] = {}
        self._waiting: dict[str, int] = {}
        """Jobs of each open batch that have not ended."""
        self._running = RunningJobs()
        self._delayed: dict[asyncio.TimerHandle, Waiting] = {}
        self._limit = AdaptiveLimit(settings.concurrency, core.clock.mono_ns())
        self._wake = asyncio.Event()
        self._callback = BatchCallback(core)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what an earlier process left."""
        writer = self._core.writer
        await writer.write(store.recover)
        for batch, jobs in await self._core.database.read(store.open_batches):
            self._take(batch, jobs)
            if not jobs:
                await self._settle(batch)
        for batch in await self._core.database.read(store.due_callbacks):
            self._spawn(self._tell(batch))
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Start nothing more; what runs is given up and waits for the next start."""
        tasks = [*self._tasks, *self._running.all()]
        if self._loop is not None:
            tasks.append(self._loop)
        for task in tasks:
            task.cancel()
        for timer in self._delayed:
            timer.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._callback.close()
        self._core.schedule.set(SCHEDULED, None)
        await self._core.writer.write(store.stand_back)

    def configure(self, settings: QueueSettings) -> None:
        """Use other settings from now on."""
        self._settings = settings
        self._queue.weights = settings.weights
        self._limit = AdaptiveLimit(settings.concurrency, self._core.clock.mono_ns())
        self._wake.set()

    @property
    def settings(self) -> QueueSettings:
        return self._settings

    @property
    def queued(self) -> int:
        """Jobs that wait."""
        return self._queue.size + len(self._delayed)

    @property
    def running(self) -> int:
        return self._running.count

    def added(self, batch: Batch, models: list[str]) -> None:
        """A batch was stored."""
        self._take(batch, [store.OpenJob(n, model, 0) for n, model in enumerate(models)])
        self._wake.set()

    def paused(self, batch_id: str, paused: bool) -> None:
        batch = self._batches.get(batch_id)
        if batch is not None:
            batch.paused = paused
            self._wake.set()

    async def cancel(self, batch_id: str) -> None:
        """Jobs that wait are over; those that run are given up."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return
        running = self._running.of(batch_id)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for timer in [timer for timer, job in self._delayed.items() if job.batch_id == batch_id]:
            timer.cancel()
            del self._delayed[timer]
        self._queue.drop(batch_id)
        await self._end_rest(batch, "cancelled", refusal("conflict", "The batch was cancelled."))
        await self._settle(batch, "cancelled")

    def _take(self, batch: Batch, jobs: list[store.OpenJob]) -> None:
        self._batches[batch.id] = batch
        self._waiting[batch.id] = len(jobs)
        for job in jobs:
            self._queue.add(
                (batch.team, batch.priority), Waiting(batch.id, job.n, self._provider(job.model), job.attempts)
            )

    def _provider(self, model: str) -> str:
        if not self._settings.per_provider:
            return ""
        try:
            return self._chute.providers.resolve(model)[0].provider.name
        except (StockyardError, IndexError):
            return ""

    async def _run(self) -> None:
        while True:
            try:
                await self._expire()
                while self._settings.is_open(self._core.clock.wall_ns()) and not self._chute.endpoint.draining:
                    if self._running.count >= self._limit.limit(self._core.clock.mono_ns()):
                        break
                    job = self._queue.take(self._may_start)
                    if job is None:
                        break
                    self._begin(job)
            except Exception:  # what is wrong with one batch must not end the queue; the next look tries again
                log.exception("the queue of batches failed")
            self._plan()
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_S)
            except TimeoutError:
                pass

    def _plan(self) -> None:
        """Say when there is work: a hosted instance is kept awake while jobs can run, and woken when their window opens."""
        at_ns = None
        if any(not batch.paused for batch in self._batches.values()):
            at_ns = self._settings.opens_ns(self._core.clock.wall_ns())
        self._core.schedule.set(SCHEDULED, at_ns)

    def _may_start(self, lane: Lane, job: Waiting) -> bool:
        batch = self._batches.get(job.batch_id)
        return batch is not None and not batch.paused and self._running.may_begin(batch, job.provider, self._settings)

    def _begin(self, job: Waiting) -> None:
        batch = self._batches[job.batch_id]
        task = asyncio.create_task(self._job(batch, job))
        self._running.begin(batch, job, task)
        task.add_done_callback(partial(self._over, batch, job))

    def _over(self, batch: Batch, job: Waiting, task: asyncio.Task[None]) -> None:
        self._running.over(batch, job, task)
        if not task.cancelled() and task.exception() is not None:
            log.error("the result of job %s/%d could not be stored", batch.id, job.n, exc_info=task.exception())
        self._wake.set()

    async def _job(self, batch: Batch, job: Waiting) -> None:
        try:
            await self._try(batch, job)
        except Exception:  # a fault of ours: the job has its result, and the log says what failed
            log.exception("job %s/%d failed here", batch.id, job.n)
            await self._end(batch, job, refusal("internal_error", "Something failed here; the log says what."))

    async def _try(self, batch: Batch, job: Waiting) -> None:
        core = self._core
        now = core.clock.wall_ns()
        until = now + round(LEASE_S * NS)
        if not await core.writer.write(lambda connection: store.lease(connection, batch.id, job.n, now, until)):
            return
        if batch.status == "queued":
            batch.status, batch.started_at_ns = "running", now
        path, headers, sealed = await core.database.read(lambda connection: store.job(connection, batch.id, job.n))
        number = job.attempts + 1
        principal = self._principal(batch)
        if batch.max_cost_nano and batch.cost_nano >= batch.max_cost_nano:
            outcome = refusal("budget_exceeded", "The batch has reached its ceiling.")
        elif principal is None or sealed is None:
            outcome = refusal("unauthorized", "The key that handed the job in may not call any more.")
        else:
            body = core.secrets.open(sealed, SEAL)
            waited_ms = max(0, now - batch.created_at_ns) // 1_000_000
            try:
                async with asyncio.timeout(LEASE_S):
                    outcome = await attempt(
                        self._chute, principal, batch, job.n, path, headers, body, number=number, waited_ms=waited_ms
                    )
            except TimeoutError:
                outcome = refusal("timeout_total", "The job took longer than its lease.")
        if outcome.http_status == 429 and outcome.retry_s is not None:
            self._limit.too_much(core.clock.mono_ns())
        if outcome.retry_s is not None and number < batch.max_attempts:
            await core.writer.write(lambda connection: store.give_back(connection, batch.id, job.n))
            self._later(batch, job._replace(attempts=number), outcome.retry_s)
            return
        await self._end(batch, job, outcome)

    def _principal(self, batch: Batch) -> Principal | None:
        everybody: Principal | None = self._core.services.get("open_principal")
        if everybody is not None:
            return everybody
        now = self._core.clock.wall_ns()
        for principal in self._core.keys.principals():
            if str(principal.key_id) == batch.key_id:
                over = principal.revoked or (principal.expires_at_ns and now >= principal.expires_at_ns)
                if over or not principal.may_call:
                    return None
                of_client = principal.multi_client and batch.team != principal.team
                return principal.of_client(batch.team.removeprefix(CLIENT_TEAM)) if of_client else principal
        return None

    def _later(self, batch: Batch, job: Waiting, seconds: float) -> None:
        def again() -> None:
            del self._delayed[timer]
            self._queue.add((batch.team, batch.priority), job, first=True)
            self._wake.set()

        timer = asyncio.get_running_loop().call_later(seconds, again)
        self._delayed[timer] = job

    async def _end(self, batch: Batch, job: Waiting, outcome: Outcome) -> None:
        status = "done" if outcome.ok else "failed"
        sealed = self._core.secrets.seal(outcome.answer, SEAL)
        result = store.Result(job.n, "", status, outcome.http_status, sealed, outcome.trace_id)
        batch.cost_nano += outcome.cost_nano
        await self._core.writer.write(
            lambda connection: store.end_job(connection, batch.id, job.n, result, outcome.cost_nano)
        )
        self._waiting[batch.id] -= 1
        if not self._waiting[batch.id]:
            await self._settle(batch)

    async def _end_rest(self, batch: Batch, status: str, outcome: Outcome) -> None:
        sealed = self._core.secrets.seal(outcome.answer, SEAL)

        def end(connection: sqlite3.Connection) -> None:
            store.recover_one(connection, batch.id)
            store.end_waiting(connection, batch.id, status, sealed)

        await self._core.writer.write(end)

    async def _settle(self, batch: Batch, status: str = "") -> None:
        """A batch has ended: say so in the table, and to whoever asked for it."""
        done, failed, _ = await self._core.database.read(lambda connection: store.counts(connection, batch.id))
        batch.status = status or ("failed" if failed and not done else "done")
        batch.completed_at_ns = self._core.clock.wall_ns()
        await self._core.writer.write(
            lambda connection: store.end_batch(connection, batch.id, batch.status, batch.completed_at_ns)
        )
        self._batches.pop(batch.id, None)
        self._waiting.pop(batch.id, None)
        if batch.callback_due:
            self._spawn(self._tell(batch))

    async def _tell(self, batch: Batch) -> None:
        done, failed, attempts = await self._core.database.read(lambda connection: store.counts(connection, batch.id))
        event = {"event": "batch.completed", **batch.shown(done, failed, attempts)}
        secret = self._core.secrets.open(batch.callback_secret, SEAL)
        await self._callback.tell(batch.callback_url, secret, event)
        await self._core.writer.write(lambda connection: store.callback_taken(connection, batch.id))

    async def _expire(self) -> None:
        own = self._settings
        if not own.expire_ns:
            return
        before = self._core.clock.wall_ns() - own.expire_ns
        for batch in [batch for batch in self._batches.values() if batch.created_at_ns < before]:
            left = self._queue.drop(batch.id)
            if left:
                sealed = self._core.secrets.seal(refusal("timeout_total", "The job waited too long.").answer, SEAL)
                await self._core.writer.write(
                    partial(store.end_waiting, batch_id=batch.id, status="failed", answer=sealed)
                )
                self._waiting[batch.id] -= left
                if not self._waiting[batch.id]:
                    await self._settle(batch)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
