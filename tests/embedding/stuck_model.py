"""A model that reads nothing until it is let: for what happens when the embedder is late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

import numpy as np

from instance.chute.embedding.embedder import DIMENSIONS, Embedder


class StuckModel:
    """In place of an embedder's model until `go` is set; `seen` are the texts that it was given, as they came."""

    def __init__(self, embedder: Embedder) -> None:
        self.go = Event()
        self.begun = Event()
        self.seen: list[list[str]] = []
        embedder._model = self  # type: ignore[assignment]

    def read(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Any]]:
        self.seen.append(list(texts))
        self.begun.set()
        self.go.wait(60)
        for place in range(len(texts)):
            yield [place], np.eye(1, DIMENSIONS, place, dtype=np.float32)
