"""Whose job is next: weighted fair shares of teams and priorities, so that nobody waits for ever."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from instance.forge.batch import priority_name

Lane = tuple[str, int]
"""Team and priority."""


class Waiting(NamedTuple):
    """One job that waits."""

    batch_id: str
    n: int
    provider: str
    attempts: int


class FairQueue:
    """Stride scheduling: a lane's pass grows by 1/weight with each job that it starts, and the lowest pass is next."""

    def __init__(self, weights: dict[str, int]) -> None:
        self.weights = weights
        self._lanes: dict[Lane, deque[Waiting]] = {}
        self._passes: dict[Lane, float] = {}
        self._now = 0.0
        self.size = 0

    def add(self, lane: Lane, job: Waiting, *, first: bool = False) -> None:
        """A job joins; a lane that was empty begins where the others are."""
        jobs = self._lanes.get(lane)
        if jobs is None:
            jobs = self._lanes[lane] = deque()
            self._passes[lane] = max(self._passes.get(lane, 0.0), self._now)
        (jobs.appendleft if first else jobs.append)(job)
        self.size += 1

    def take(self, may_start: Callable[[Lane, Waiting], bool]) -> Waiting | None:
        """The next job of those that may start now. Of a lane the first that may, so that one batch cannot hold up others."""
        for lane in sorted(self._lanes, key=self._passes.__getitem__):
            jobs = self._lanes[lane]
            for place, job in enumerate(jobs):
                if place >= LOOKED_AT_MAX:
                    break
                if may_start(lane, job):
                    del jobs[place]
                    self.size -= 1
                    self._now = self._passes[lane]
                    self._passes[lane] += 1 / max(1, self.weights.get(priority_name(lane[1]), 1))
                    if not jobs:
                        del self._lanes[lane], self._passes[lane]
                    return job
        return None

    def drop(self, batch_id: str) -> int:
        """A batch's jobs leave; how many."""
        left = 0
        for lane in list(self._lanes):
            jobs = self._lanes[lane]
            kept = deque(job for job in jobs if job.batch_id != batch_id)
            left += len(jobs) - len(kept)
            if kept:
                self._lanes[lane] = kept
            else:
                del self._lanes[lane], self._passes[lane]
        self.size -= left
        return left

    def __iter__(self) -> Iterator[Waiting]:
        for jobs in self._lanes.values():
            yield from jobs


LOOKED_AT_MAX = 1000
"""Jobs of a lane that are asked whether they may start, before the next lane's turn."""
