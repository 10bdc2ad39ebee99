"""The jobs that run now, counted by batch, team and provider: whether another may begin beside them."""

from __future__ import annotations

import asyncio

from instance.forge.batch import Batch
from instance.forge.fair_queue import Waiting
from instance.forge.queue_settings import QueueSettings


class RunningJobs:
    """`begin` with a job's task, `over` when that has ended; `count` is how many there are."""

    def __init__(self) -> None:
        self.count = 0
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}
        self._by_team: dict[str, int] = {}
        self._by_provider: dict[str, int] = {}

    def may_begin(self, batch: Batch, provider: str, settings: QueueSettings) -> bool:
        """Whether the batch, its team and the provider have room for one more."""
        if batch.concurrency and len(self._tasks.get(batch.id, ())) >= batch.concurrency:
            return False
        if settings.per_team and self._by_team.get(batch.team, 0) >= settings.per_team:
            return False
        most = settings.per_provider.get(provider)
        return most is None or self._by_provider.get(provider, 0) < most

    def begin(self, batch: Batch, job: Waiting, task: asyncio.Task[None]) -> None:
        """Count a job from now on."""
        self.count += 1
        self._by_team[batch.team] = self._by_team.get(batch.team, 0) + 1
        self._by_provider[job.provider] = self._by_provider.get(job.provider, 0) + 1
        self._tasks.setdefault(batch.id, set()).add(task)

    def over(self, batch: Batch, job: Waiting, task: asyncio.Task[None]) -> None:
        """Count it no more."""
        self.count -= 1
        for counted, name in ((self._by_team, batch.team), (self._by_provider, job.provider)):
            counted[name] -= 1
            if not counted[name]:
                del counted[name]
        running = self._tasks[batch.id]
        running.discard(task)
        if not running:
            del self._tasks[batch.id]

    def of(self, batch_id: str) -> set[asyncio.Task[None]]:
        """The tasks of a batch's jobs."""
        return self._tasks.get(batch_id, set()).copy()

    def all(self) -> list[asyncio.Task[None]]:
        """The tasks of every job."""
        return [task for tasks in self._tasks.values() for task in tasks]
