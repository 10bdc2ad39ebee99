"""Addresses that were refused too often, and for how long they are shut out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TRACKED_MAX = 10_000


class Bans:
    """Addresses that were refused too often, for a while. At most `TRACKED_MAX` addresses; the oldest make room."""

    __slots__ = ("_mono_ns", "_tries", "until_ns")

    def __init__(self, mono_ns: Callable[[], int]) -> None:
        self._mono_ns = mono_ns
        self._tries: dict[str, tuple[int, int]] = {}
        self.until_ns: dict[str, int] = {}

    def refused(self, address: str, after: int, window_ns: int, ban_ns: int) -> bool:
        """Count a refused try; True when it leads to a ban."""
        now = self._mono_ns()
        since, tries = self._tries.pop(address, (now, 0))
        if now - since > window_ns:
            since, tries = now, 0
        tries += 1
        if tries >= after:
            put(self.until_ns, address, now + ban_ns)
            return True
        put(self._tries, address, (since, tries))
        return False

    def banned_s(self, address: str) -> int:
        """Whole seconds for which the address stays banned; 0 when it is not."""
        until = self.until_ns.get(address)
        if until is None:
            return 0
        left = until - self._mono_ns()
        if left <= 0:
            del self.until_ns[address]
            return 0
        return -(-left // 1_000_000_000)

    def lift(self, address: str) -> bool:
        """End the ban of the address; False when there was none."""
        self._tries.pop(address, None)
        return self.until_ns.pop(address, None) is not None


def put(table: dict[str, Any], address: str, value: Any) -> None:
    if len(table) >= TRACKED_MAX and address not in table:
        del table[next(iter(table))]
    table[address] = value
