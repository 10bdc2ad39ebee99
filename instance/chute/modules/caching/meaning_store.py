"""Answers by what their question means: vectors in partitions of equal circumstances, searched by one matrix product each.

The event loop keeps the answers and says what comes and goes; other threads, the embedder's, have the matrices and search, a matrix
one at a time.
A similarity is of two texts for ever, so a text that was found needs no more than a look whether its answer is still there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from instance.chute.modules.caching.answer_store import Entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Row = NDArray[np.float32]

ROW_BYTES = 1_536 + 300
ROWS_MIN = 1
"""Room of a new partition, which as a rule holds one question; it doubles as it fills."""
CANDIDATES_MAX = 8
"""So many of the nearest are looked at closely."""


class Question(NamedTuple):
    """Where an answer belongs: what stands for its circumstances, the question and its vector."""

    partition: bytes
    text: str
    vector: Row


class Near(NamedTuple):
    """A kept answer and how near its question is (cosine)."""

    similarity: float
    text: str
    entry: Entry


class Partition:
    """Questions of equal circumstances: row `n` of the matrix is the vector of text `n`.

    The matrix is the searching threads' alone: what the event loop adds and drops is only noted, and done by the next search.
    """

    __slots__ = ("_changes", "_matrix", "_places", "_searching", "_texts", "count")

    def __init__(self) -> None:
        self.count = 0
        """Texts as the event loop counts them."""
        self._changes: list[tuple[str, Row | None]] = []
        self._searching = Lock()
        self._texts: list[str] = []
        self._places: dict[str, int] = {}
        self._matrix: Row | None = None

    def add(self, text: str, vector: Row) -> None:
        """Note a text that is not among the others."""
        self.count += 1
        self._changes.append((text, vector))

    def remove(self, text: str) -> None:
        """Note that a text is gone."""
        self.count -= 1
        self._changes.append((text, None))

    # --- on a searching thread --------------------------------------------------------------------------------------

    def nearest(self, vector: Row, least: float) -> list[tuple[float, str]]:
        """Cosine and text of those that are at least so near, the nearest first."""
        with self._searching:
            self._settle()
            if self._matrix is None:
                return []
            similarities = self._matrix[: len(self._texts)] @ vector
            places = (similarities >= least).nonzero()[0]
            best = places[(-similarities[places]).argsort(kind="stable")[:CANDIDATES_MAX]].tolist()
            return [(float(similarities[place]), self._texts[place]) for place in best]

    def settle(self) -> None:
        """Do what was noted, as far as it was by now."""
        with self._searching:
            self._settle()

    def _settle(self) -> None:
        noted = self._changes[:]
        for text, vector in noted:
            if vector is None:
                self._take_out(text)
            else:
                self._put_in(text, vector)
        del self._changes[: len(noted)]

    def _put_in(self, text: str, vector: Row) -> None:
        count = len(self._texts)
        if self._matrix is None or count == len(self._matrix):
            self._resize(max(ROWS_MIN, 2 * count), vector)
        assert self._matrix is not None
        self._matrix[count] = vector
        self._places[text] = count
        self._texts.append(text)

    def _take_out(self, text: str) -> None:
        assert self._matrix is not None
        place, last = self._places.pop(text), self._texts.pop()
        count = len(self._texts)
        if last != text:
            self._texts[place] = last
            self._places[last] = place
            self._matrix[place] = self._matrix[count]
        if 0 < count * 4 < len(self._matrix):
            self._resize(max(ROWS_MIN, 2 * count), self._matrix[0])

    def _resize(self, rows: int, like: Row) -> None:
        import numpy as np

        count = len(self._texts)
        matrix = np.empty((rows, like.shape[0]), dtype=np.float32)
        if self._matrix is not None:
            matrix[:count] = self._matrix[:count]
        self._matrix = matrix


class MeaningStore:
    """At most `max_entries` answers in all; those used longest ago make room."""

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self._partitions: dict[bytes, Partition] = {}
        self._entries: OrderedDict[tuple[bytes, str], Entry] = OrderedDict()
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0
        self.saved_nano = 0

    def __len__(self) -> int:
        return len(self._entries)

    def partition(self, circumstances: bytes) -> Partition | None:
        """Where answers given in these circumstances are searched, off the event loop; `None` when there are none."""
        return self._partitions.get(circumstances)

    def kept(self, circumstances: bytes, near: Iterable[tuple[float, str]], now_ns: int) -> list[Near]:
        """The answers to texts that a search found: those that are still there and not over their time."""
        found = []
        for similarity, text in near:
            entry = self._entries.get((circumstances, text))
            if entry is not None and entry.expires_ns > now_ns:
                found.append(Near(similarity, text, entry))
        return found

    def used(self, partition: bytes, text: str) -> None:
        """Note that an answer was given again."""
        self._entries.move_to_end((partition, text))

    def put(self, question: Question, entry: Entry) -> None:
        """Keep an answer, in place of one to the same words."""
        circumstances, text, vector = question
        entries = self._entries
        key = circumstances, text
        if key in entries:
            self._drop(key)
        partition = self._partitions.get(circumstances)
        if partition is None:
            partition = self._partitions[circumstances] = Partition()
        partition.add(text, vector)
        entries[key] = entry
        self.size_bytes += entry.size_bytes + ROW_BYTES
        if len(entries) > self.max_entries:
            self._make_room()

    def _make_room(self) -> None:
        while len(self._entries) > self.max_entries:
            self._drop(next(iter(self._entries)))

    def expire(self, now_ns: int) -> list[Partition]:
        """Drop what is over its time; where others are left, which are to be settled."""
        for key in [key for key, entry in self._entries.items() if entry.expires_ns <= now_ns]:
            self._drop(key)
        return list(self._partitions.values())

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
        if not partition.count:
            del self._partitions[key[0]]
