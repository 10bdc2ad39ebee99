"""Identifiers: a prefix and a ULID (https://github.com/ulid/spec), in the order in which they were made."""

from __future__ import annotations

from os import urandom
from random import Random
from threading import Lock
from time import time_ns

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID_LENGTH = 26

_NS_PER_MS = 1_000_000
_PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)
_LOW_BITS = 30
_LOW_END = 1 << _LOW_BITS


class IdMaker:
    """Makes ULIDs that grow within the process, also when the clock is set back. Safe in threads.

    The 48 bits of time and the upper 50 random bits are chosen once for each millisecond, the lower 30 bits count up
    from a random start below half of their range.
    """

    __slots__ = ("_head", "_lock", "_low", "_ms", "_random")

    def __init__(self) -> None:
        self._lock = Lock()
        self._random = Random(urandom(32))
        self._ms = -1
        self._low = 0
        self._head = ""

    def make(self, prefix: str) -> str:
        """`prefix` + 26 characters."""
        with self._lock:
            ms = time_ns() // _NS_PER_MS
            low = self._low + 1
            if ms > self._ms or low == _LOW_END:
                self._begin(max(ms, self._ms + 1))
                low = self._low
            self._low = low
            return f"{prefix}{self._head}{_PAIRS[low >> 20]}{_PAIRS[low >> 10 & 1023]}{_PAIRS[low & 1023]}"

    def _begin(self, ms: int) -> None:
        self._ms = ms
        random = self._random.getrandbits(50 + _LOW_BITS - 1)
        self._low = random & ((_LOW_END >> 1) - 1)
        upper = random >> (_LOW_BITS - 1)
        pairs = _PAIRS
        self._head = (
            f"{pairs[ms >> 40 & 1023]}{pairs[ms >> 30 & 1023]}{pairs[ms >> 20 & 1023]}{pairs[ms >> 10 & 1023]}{pairs[ms & 1023]}"
            f"{pairs[upper >> 40]}{pairs[upper >> 30 & 1023]}{pairs[upper >> 20 & 1023]}{pairs[upper >> 10 & 1023]}{pairs[upper & 1023]}"
        )


new_id = IdMaker().make
"""`new_id("tr_")`: a fresh identifier with this prefix."""
