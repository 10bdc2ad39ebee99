"""An index over passages: by words (BM25) and by meaning (embeddings), both asked and their ranks fused."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from instance.chute.modules.transform.passages import Passage
from instance.chute.tokens import count_tokens

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Vectors

FUSION_K = 60
"""Reciprocal rank fusion: a passage scores 1 / (60 + its rank) in each list (Cormack et al., 2009)."""
CANDIDATES = 40
SAME = 0.95
_WORD = re.compile(r"\w+")


class Found(NamedTuple):
    """A passage that fits a question, and its cosine to it."""

    passage: Passage
    cosine: float


class PassageIndex:
    """Immutable once made; it is searched on a worker thread, one search at a time."""

    def __init__(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """`vectors[n]` belongs to `passages[n]`, its length 1."""
        self.passages = list(passages)
        self.vectors = vectors
        self._words = sqlite3.connect(":memory:", check_same_thread=False)
        self._words.execute("CREATE VIRTUAL TABLE passages USING fts5(heading, text, tokenize = 'porter unicode61')")
        self._words.executemany(
            "INSERT INTO passages (rowid, heading, text) VALUES (?, ?, ?)",
            [(n, passage.heading, passage.text) for n, passage in enumerate(self.passages)],
        )

    def fitting(self, min_cosine: float, vectors: Vectors) -> Any:
        """The first of the vectors, if any passage is near enough to it in meaning, which every passage found is; else `None`. A
        microsecond for each hundred passages."""
        vector = vectors[0]
        return vector if self.passages and float((self.vectors @ vector).max()) >= min_cosine else None

    def search(self, question: str, vector: Any, min_cosine: float, max_tokens: int) -> list[Found]:
        """The passages that fit, best first: near enough in meaning, no two the same, together at most `max_tokens`."""
        if not self.passages:
            return []
        cosines = self.vectors @ vector
        by_meaning = [int(n) for n in (-cosines).argsort()[:CANDIDATES]]
        scores: dict[int, float] = {}
        for ranked in (by_meaning, self._by_words(question)):
            for rank, n in enumerate(ranked, 1):
                scores[n] = scores.get(n, 0.0) + 1 / (FUSION_K + rank)
        chosen: list[int] = []
        left = max_tokens
        for n in sorted(scores, key=lambda n: (-scores[n], n)):
            if cosines[n] < min_cosine or any(float(self.vectors[n] @ self.vectors[other]) > SAME for other in chosen):
                continue
            tokens = count_tokens(self.passages[n].text)
            if tokens <= left:
                chosen.append(n)
                left -= tokens
        return [Found(self.passages[n], round(float(cosines[n]), 4)) for n in chosen]

    def _by_words(self, question: str) -> list[int]:
        words = list(dict.fromkeys(word.lower() for word in _WORD.findall(question)))[:64]
        if not words:
            return []
        query = " OR ".join(f'"{word}"' for word in words)
        rows = self._words.execute(
            "SELECT rowid FROM passages WHERE passages MATCH ? ORDER BY bm25(passages) LIMIT ?", (query, CANDIDATES)
        )
        return [row[0] for row in rows]
