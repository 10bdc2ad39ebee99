"""Vectors at once in place of the model's, so that the chain's own work on them is measured and the wait for them is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha512
from typing import Any, TypeVar

import numpy as np

from bench.loop_clock import LoopClock
from instance.chute.embedding.embedder import DIMENSIONS, Embedder
from instance.chute.modules.safety.classifier import Classifier, unit

T = TypeVar("T")

_WORD = re.compile(r"\w{4,}")
"""Of what a text is about; shorter ones are in every text."""


class StandInEmbedder(Embedder):
    """Answers without waiting: a text's vector is the sum of its words', each of which has a direction by its digest.

    What it takes is left out of `clock`; `asked` counts the texts, `beside_ns` what was done with vectors on the worker.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = LoopClock()
        self.asked = 0
        self.beside_ns = 0

    async def load(self) -> None:
        return

    async def embed(self, texts: Sequence[str]) -> Any:
        started = self.clock.read()
        rows = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for place, text in enumerate(texts):
            rows[place] = _row(text)
        self.asked += len(texts)
        self.clock.away_ns += self.clock.read() - started
        return rows

    async def embed_then(self, texts: Sequence[str], work: Callable[[Any], T]) -> T:
        vectors = await self.embed(texts)
        return self._beside(lambda: work(vectors))

    async def run(self, read: Callable[[], Sequence[str]], work: Callable[[Any], T]) -> T:
        return await self.embed_then(self._beside(read), work)

    def _beside(self, work: Callable[[], T]) -> T:
        started = self.clock.read()
        try:
            return work()
        finally:
            took = self.clock.read() - started
            self.clock.away_ns += took
            self.beside_ns += took


def meaningless(classifier: Classifier, vectors: Any) -> Any:
    """In place of `Classifier.centred`: these vectors would be taken for anything, so what was learned goes by words alone, with the
    same work."""
    return unit(vectors - classifier._mean) * 0


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
