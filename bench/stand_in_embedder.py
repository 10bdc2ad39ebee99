"""Vectors at once in place of the model's, so that the chain's own work on them is measured and the wait for them is not."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha512
from time import perf_counter_ns
from typing import Any

import numpy as np

from instance.chute.embedding.embedder import DIMENSIONS, Embedder


class StandInEmbedder(Embedder):
    """Answers without waiting: a text's vector is made of its digest, so that equal texts are equal and no others alike.

    `took_ns` adds up what it took, for who measures to leave out; `asked` counts the texts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.took_ns = 0
        self.asked = 0

    async def load(self) -> None:
        return

    async def embed(self, texts: Sequence[str]) -> Any:
        started = perf_counter_ns()
        rows = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        for place, text in enumerate(texts):
            rows[place] = _row(text)
        self.asked += len(texts)
        self.took_ns += perf_counter_ns() - started
        return rows


def _row(text: str) -> Any:
    data = text.encode("utf-8", "replace")
    digests = b"".join(sha512(data + bytes((part,))).digest() for part in range(DIMENSIONS // 64))
    row = np.frombuffer(digests, dtype=np.uint8).astype(np.float32) - 127.5
    return row / np.linalg.norm(row)
