"""Vectors at once in place of the model's, so that the chain's own work on them is measured and the wait for them is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha512
from typing import Any, TypeVar

import numpy as np

from bench.loop_clock import LoopClock
from instance.chute.embedding.embedder import DIMENSIONS, Embedder
from instance.chute.modules.safety.classifier import Classifier, unit

T = TypeVar("T")


class StandInEmbedder(Embedder):
    """Answers without waiting: a text's vector is made of its digest, so that equal texts are equal and no others alike.

    What it takes is left out of `clock`; `asked` counts the texts, `beside_ns` what was done with vectors on the worker.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = LoopClock()
        self.asked = 0
        self.beside_ns = 0
        # Vectors without meaning would be taken for anything: what was learned goes by words alone here, with the same work.
        Classifier.centred = lambda classifier, vectors: unit(vectors - classifier._mean) * 0  # type: ignore[method-assign,assignment]

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
        started = self.clock.read()
        try:
            return work(vectors)
        finally:
            took = self.clock.read() - started
            self.clock.away_ns += took
            self.beside_ns += took


def _row(text: str) -> Any:
    data = text.encode("utf-8", "replace")
    digests = b"".join(sha512(data + bytes((part,))).digest() for part in range(DIMENSIONS // 64))
    row = np.frombuffer(digests, dtype=np.uint8).astype(np.float32) - 127.5
    return row / np.linalg.norm(row)
