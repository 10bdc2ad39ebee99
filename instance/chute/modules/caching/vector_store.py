"""Vectors by key in memory, as 32-bit floats: bounded by entries and bytes, the ones used longest ago make room."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence

ENTRY_OVERHEAD_BYTES = 250


class Vector:
    """One vector. `cost_nano` is what it cost to have it made."""

    __slots__ = ("cost_nano", "created_ns", "expires_ns", "model", "numbers", "team")

    def __init__(
        self, numbers: Sequence[float], created_ns: int, expires_ns: int, cost_nano: int, model: str, team: str
    ) -> None:
        self.numbers = array("f", numbers)
        self.created_ns = created_ns
        self.expires_ns = expires_ns
        self.cost_nano = cost_nano
        self.model = model
        self.team = team

    @property
    def size_bytes(self) -> int:
        return 4 * len(self.numbers) + ENTRY_OVERHEAD_BYTES


class VectorStore:
    """Finds and keeps vectors."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._kept: OrderedDict[bytes, Vector] = OrderedDict()
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0
        self.saved_nano = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes, now_ns: int) -> Vector | None:
        """The vector when it is kept and not expired."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found.expires_ns <= now_ns:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, vector: Vector) -> None:
        """Keep it."""
        self._drop(key)
        self._kept[key] = vector
        self.size_bytes += vector.size_bytes
        while self._kept and (len(self._kept) > self.max_entries or self.size_bytes > self.max_bytes):
            self._drop(next(iter(self._kept)))

    def expire(self, now_ns: int) -> None:
        """Drop what is over its time."""
        for key in [key for key, vector in self._kept.items() if vector.expires_ns <= now_ns]:
            self._drop(key)

    async def clear(
        self, *, model: str | None = None, team: str | None = None, created_before_ns: int | None = None
    ) -> int:
        """Drop the vectors that fit all that is given; how many there were."""
        gone = [
            key
            for key, vector in self._kept.items()
            if (model is None or vector.model == model)
            and (team is None or vector.team == team)
            and (created_before_ns is None or vector.created_ns < created_before_ns)
        ]
        for key in gone:
            self._drop(key)
        return len(gone)

    def _drop(self, key: bytes) -> None:
        vector = self._kept.pop(key, None)
        if vector is not None:
            self.size_bytes -= vector.size_bytes
