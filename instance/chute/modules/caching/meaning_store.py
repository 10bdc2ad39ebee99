"""Answers by what their question means: vectors in partitions of equal circumstances, searched by one matrix product each."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from instance.chute.modules.caching.answer_store import Entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Row = NDArray[np.float32]

ROW_BYTES = 1_536 + 300
PARTITION_ROWS_MAX = 50_000
ROWS_MIN = 1
"""Room of a new partition, which as a rule holds one question; it doubles as it fills."""
CANDIDATES_MAX = 8
"""So many of the nearest are looked at closely."""


class Question(NamedTuple):
    """Where an answer belongs: the digest of its circumstances, the question and its vector."""

    partition: bytes
    text: str
    vector: Row


class Near(NamedTuple):
    """A kept answer and how near its question is (cosine)."""

    similarity: float
    text: str
    entry: Entry


class _Partition:
    """Questions of equal circumstances: row `n` of the matrix is the vector of `texts[n]`. Adding and removing moves one row."""

    __slots__ = ("_matrix", "_places", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}
        self._matrix: Row | None = None

    def similarities(self, vector: Row) -> Row:
        """The cosine to each text, in their order."""
        assert self._matrix is not None
        found: Row = self._matrix[: len(self.texts)] @ vector
        return found

    def add(self, text: str, vector: Row) -> None:
        count = len(self.texts)
        if self._matrix is None or count == len(self._matrix):
            self._resize(max(ROWS_MIN, 2 * count), vector)
        assert self._matrix is not None
        self._matrix[count] = vector
        self._places[text] = count
        self.texts.append(text)

    def remove(self, text: str) -> None:
        assert self._matrix is not None
        place, last = self._places.pop(text), self.texts.pop()
        count = len(self.texts)
        if last != text:
            self.texts[place] = last
            self._places[last] = place
            self._matrix[place] = self._matrix[count]
        if 0 < count * 4 < len(self._matrix):
            self._resize(max(ROWS_MIN, 2 * count), self._matrix[0])

    def _resize(self, rows: int, like: Row) -> None:
        import numpy as np

        count = len(self.texts)
        matrix = np.empty((rows, like.shape[0]), dtype=np.float32)
        if self._matrix is not None:
            matrix[:count] = self._matrix[:count]
        self._matrix = matrix


class MeaningStore:
    """At most `max_entries` answers in all; those used longest ago make room."""

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self._partitions: dict[bytes, _Partition] = {}
        self._entries: OrderedDict[tuple[bytes, str], Entry] = OrderedDict()
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0
        self.saved_nano = 0

    def __len__(self) -> int:
        return len(self._entries)

    def nearest(self, question: Question, least: float, now_ns: int) -> list[Near]:
        """Kept answers to questions at least so near, the nearest first."""
        partition = self._partitions.get(question.partition)
        if partition is None:
            return []
        similarities = partition.similarities(question.vector)
        if similarities.max() < least:
            return []
        places = (similarities >= least).nonzero()[0].tolist()
        best = sorted(places, key=lambda place: -similarities[place])[:CANDIDATES_MAX]
        found = []
        for place in best:
            text = partition.texts[place]
            entry = self._entries[question.partition, text]
            if entry.expires_ns > now_ns:
                found.append(Near(float(similarities[place]), text, entry))
        return found

    def used(self, partition: bytes, text: str) -> None:
        """Note that an answer was given again."""
        self._entries.move_to_end((partition, text))

    def put(self, question: Question, entry: Entry) -> None:
        """Keep an answer, in place of one to the same words."""
        self._drop((question.partition, question.text))
        partition = self._partitions.setdefault(question.partition, _Partition())
        if len(partition.texts) >= PARTITION_ROWS_MAX:
            oldest = next(key for key in self._entries if key[0] == question.partition)
            self._drop(oldest)
        partition.add(question.text, question.vector)
        self._entries[question.partition, question.text] = entry
        self.size_bytes += entry.size_bytes + ROW_BYTES
        while len(self._entries) > self.max_entries:
            self._drop(next(iter(self._entries)))

    def expire(self, now_ns: int) -> None:
        """Drop what is over its time."""
        for key in [key for key, entry in self._entries.items() if entry.expires_ns <= now_ns]:
            self._drop(key)

    async def clear(
        self, *, model: str | None = None, team: str | None = None, created_before_ns: int | None = None
    ) -> int:
        """Drop the answers that fit all that is given; how many there were."""
        gone = [
            key
            for key, entry in self._entries.items()
            if (model is None or entry.model == model)
            and (team is None or entry.team == team)
            and (created_before_ns is None or entry.created_ns < created_before_ns)
        ]
        for key in gone:
            self._drop(key)
        return len(gone)

    async def forget(self, answer_id: str) -> int:
        """Drop the entries of the answer with this id; how many there were."""
        gone = [key for key, entry in self._entries.items() if entry.is_of(answer_id)]
        for key in gone:
            self._drop(key)
        return len(gone)

    def _drop(self, key: tuple[bytes, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self.size_bytes -= entry.size_bytes + ROW_BYTES
        partition = self._partitions[key[0]]
        partition.remove(key[1])
        if not partition.texts:
            del self._partitions[key[0]]
