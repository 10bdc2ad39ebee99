"""Vectors at once in place of the model's, so that the chain's own work on them is measured and the wait for them is not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha512
from time import thread_time_ns
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from bench.loop_clock import LoopClock
from instance.chute.embedding.embedder import DIMENSIONS, Embedder
from instance.chute.embedding.worker import Worker

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange

T = TypeVar("T")

ORDINARY = 2.0
SETTLING_MAX = 20
"""So often is looked whether the thread is done: a job that was cancelled never is."""
_WORD = re.compile(r"\w{4,}")
"""Of what a text is about; shorter ones are in every text."""


class StandInModel:
    """Answers at once: a text's vector is the sum of its words', each of which has a direction by its digest."""

    def __init__(self) -> None:
        self.took_ns = 0

    def read(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Any]]:
        started = thread_time_ns()
        rows = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for place, text in enumerate(texts):
            rows[place] = _row(text)
        self.took_ns += thread_time_ns() - started
        yield list(range(len(texts))), rows


class _Handing(Worker):
    """The thread; what handing over to it takes is left out of the clock too, as it is part of the waiting: `handed_ns`."""

    def __init__(self, name: str, clock: LoopClock) -> None:
        super().__init__(name)
        self._clock = clock
        self.handed = self.handed_ns = 0

    def do(self, job: Callable[..., T], *given: Any, **how: Any) -> asyncio.Future[T]:
        started = self._clock.read()
        try:
            return super().do(job, *given, **how)
        finally:
            took = self._clock.read() - started
            self._clock.away_ns += took
            self.handed += 1
            self.handed_ns += took


class StandInEmbedder(Embedder):
    """The embedder with a model that takes no time to speak of: with the real one's thread and what it keeps.

    `clock` stands still while its calls wait and hand over; `beside_ns` is what was done on the thread, the model left out.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.clock = LoopClock()
        self._worker = self.thread = _Handing("embedder", self.clock)
        self.beside_ns = 0
        self._given = self._done = 0
        self._model = self._stand_in = StandInModel()  # type: ignore[assignment]

    async def load(self) -> None:
        return

    def embed_then(self, texts: Sequence[str], work: Callable[[Any], T], x: Exchange | None = None) -> Awaitable[T]:
        self._given += 1
        return super().embed_then(texts, work, x)

    def run(
        self,
        read: Callable[[], Sequence[str]],
        work: Callable[[Any], T],
        x: Exchange | None = None,
        *,
        more: Callable[[Any], Sequence[str]] | None = None,
    ) -> Awaitable[T]:
        self._given += 1
        return super().run(read, work, x, more=more)

    async def settled(self) -> None:
        """Wait until nothing is left to do on the thread."""
        await asyncio.sleep(0)
        for _ in range(SETTLING_MAX):
            if self._given == self._done:
                return
            await Worker.do(self._worker, _nothing)
            await asyncio.sleep(0)

    def counting(self, job: Callable[..., T]) -> Callable[..., T]:
        """The job, what it takes of another thread counted in `beside_ns`."""

        def counted(*given: Any) -> T:
            started = thread_time_ns()
            try:
                return job(*given)
            finally:
                self.beside_ns += thread_time_ns() - started

        return counted

    def _embed_then(self, texts: Sequence[str], work: Callable[[Any], T]) -> T:
        return self._counted(super()._embed_then, texts, work)

    def _run(
        self,
        read: Callable[[], Sequence[str]],
        work: Callable[[Any], T],
        more: Callable[[Any], Sequence[str]] | None,
    ) -> T:
        return self._counted(super()._run, read, work, more)

    def _counted(self, job: Callable[..., T], *given: Any) -> T:
        started, model = thread_time_ns(), self._stand_in.took_ns
        try:
            return job(*given)
        finally:
            self._done += 1
            self.beside_ns += thread_time_ns() - started - (self._stand_in.took_ns - model)


def _nothing() -> None:
    return


def meaningless(by_meaning: Callable[..., Any]) -> Callable[..., Any]:
    """In place of `AllLearned.by_meaning`: these vectors would be taken for anything, so each text counts as meaning what ordinary
    ones do, `ORDINARY` more for nothing harmful, and what was learned goes by its words beside that, with the same work."""

    def ordinary(learned: Any, vectors: Any) -> Any:
        logits = by_meaning(learned, vectors) * 0
        logits[:, learned._harmless] += ORDINARY
        return logits

    return ordinary


def _row(text: str) -> Any:
    row = np.zeros(DIMENSIONS, dtype=np.float32)
    for word in _WORD.findall(text.lower()):
        row += _of_word(word)
    length = np.linalg.norm(row)
    return row / length if length else _of_word(text)


@lru_cache(4_096)
def _of_word(word: str) -> Any:
    """A direction of the word's own."""
    data = word.encode("utf-8", "replace")
    digests = b"".join(sha512(data + bytes((part,))).digest() for part in range(DIMENSIONS // 64))
    row = np.frombuffer(digests, dtype=np.uint8).astype(np.float32) - 127.5
    return row / np.linalg.norm(row)
