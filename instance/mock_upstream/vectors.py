"""Embeddings without a model: the same text has the same unit vector, texts with common words are nearer."""

from __future__ import annotations

import base64
from array import array
from hashlib import blake2b
from math import sqrt

DIMENSIONS = 16
DIMENSIONS_MAX = 4096


def embedding(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """A unit vector of float32 values."""
    size = min(max(dimensions, 1), DIMENSIONS_MAX)
    total = [0.0] * size
    for word in text.lower().split() or [""]:
        seed = b""
        while len(seed) < size:
            seed += blake2b(word.encode(), salt=len(seed).to_bytes(16, "big")).digest()
        for place in range(size):
            total[place] += seed[place] - 127.5
    norm = sqrt(sum(value * value for value in total)) or 1.0
    return list(array("f", [value / norm for value in total]))


def packed(vector: list[float]) -> str:
    """Little-endian float32 in base64, as OpenAI's API gives it."""
    return base64.b64encode(array("f", vector).tobytes()).decode()


def relevance(query: str, document: str) -> float:
    """0..1: how many of the query's words the document has."""
    wanted = set(query.lower().split())
    if not wanted:
        return 0.0
    return round(len(wanted & set(document.lower().split())) / len(wanted) * 0.98 + 0.01, 6)


def ranked(query: str, documents: list[str], top: int | None = None) -> list[tuple[int, float]]:
    """Index and relevance of the documents, the best first."""
    scored = [(index, relevance(query, document)) for index, document in enumerate(documents)]
    scored.sort(key=lambda pair: (-pair[1], pair[0]))
    return scored[:top]
