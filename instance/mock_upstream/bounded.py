"""What the mock remembers: a dictionary that forgets its oldest entries."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Bounded(Generic[T]):
    __slots__ = ("_limit", "_rows")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: dict[str, T] = {}

    def put(self, key: str, value: T) -> None:
        self._rows.pop(key, None)
        self._rows[key] = value
        while len(self._rows) > self._limit:
            del self._rows[next(iter(self._rows))]

    def get(self, key: str) -> T | None:
        return self._rows.get(key)

    def pop(self, key: str) -> T | None:
        return self._rows.pop(key, None)

    def values(self) -> list[T]:
        return list(self._rows.values())
