"""How many jobs run at once: halved when a provider says that it is too much, one more after each minute that went well."""

from __future__ import annotations

MINUTE_NS = 60_000_000_000


class AdaptiveLimit:
    """Between 1 and `most`."""

    def __init__(self, most: int, now_ns: int) -> None:
        self.most = most
        self.now = most
        self._since_ns = now_ns

    def too_much(self, now_ns: int) -> None:
        """A 429 came."""
        self.now = max(1, self.now // 2)
        self._since_ns = now_ns

    def limit(self, now_ns: int) -> int:
        """What holds now (monotonic nanoseconds)."""
        while self.now < self.most and now_ns - self._since_ns >= MINUTE_NS:
            self.now += 1
            self._since_ns += MINUTE_NS
        self.now = min(self.now, self.most)
        return self.now
