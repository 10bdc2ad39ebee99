"""What was found out about texts that come again: a conversation's history is sent anew with every turn."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

TEXTS_MAX = 4_096


class TextMemory(Generic[T]):
    """Text -> what was found out about it, of the texts that were asked for lately; at most twice `most` of them.

    The texts themselves are not kept, only their hashes: 64 bits by SipHash under a key of this process, so that nobody can make
    two texts that count as one. `None` is no value.
    """

    __slots__ = ("_before", "_latest", "_most")

    def __init__(self, most: int = TEXTS_MAX) -> None:
        self._most = most
        self._latest: dict[int, T] = {}
        self._before: dict[int, T] = {}

    def get(self, text: str) -> T | None:
        """What was kept of the text; `None`: nothing."""
        key = hash(text)
        found = self._latest.get(key)
        if found is None:
            found = self._before.get(key)
            if found is not None:
                self.keep(text, found)
        return found

    def keep(self, text: str, value: T) -> T:
        """Remember the value, and give it back. Texts that nobody asked for lately are forgotten."""
        latest = self._latest
        if len(latest) >= self._most:
            self._before = latest
            latest = self._latest = {}
        latest[hash(text)] = value
        return value

    def __len__(self) -> int:
        return len(self._latest) + len(self._before)
