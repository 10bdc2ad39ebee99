"""One target's breaker: results counted in a sliding window, and who is let through."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["closed", "open", "half_open"]

NS = 1_000_000_000


class BreakerLimits(NamedTuple):
    """When a breaker opens and closes. Times in seconds."""

    window_s: int
    min_calls: int
    failure_pct: float
    consecutive: int
    open_s: float
    max_open_s: float
    probes: int


class Breaker:
    """Closed: everything passes and is counted. Open: nothing passes for a while, doubled at each re-opening. Half open: a
    few calls at a time pass; as many successes close it, one failure opens it again.

    Times are nanoseconds of a monotonic clock. Results of calls that began before it opened do not count any more.
    """

    __slots__ = (
        "_bad",
        "_good",
        "_in_a_row",
        "_open_for_s",
        "_second",
        "_slot",
        "_succeeded",
        "_until_ns",
        "base_url",
        "label",
        "limits",
        "probing",
        "state",
    )

    def __init__(self, label: str, limits: BreakerLimits, now_ns: int, base_url: object = None) -> None:
        self.label = label
        self.base_url = base_url
        self.limits = limits
        self.state: State = "closed"
        self.probing = 0
        """Probes in flight."""
        self._good = [0] * limits.window_s
        self._bad = [0] * limits.window_s
        self._second = now_ns // NS
        self._slot = self._second % limits.window_s
        """Where the running second is counted."""
        self._in_a_row = 0
        self._open_for_s = 0.0
        self._until_ns = 0
        self._succeeded = 0

    def use(self, limits: BreakerLimits) -> None:
        """Go on under other limits; the counts begin anew where the window has another length."""
        if limits.window_s != self.limits.window_s:
            self._good = [0] * limits.window_s
            self._bad = [0] * limits.window_s
            self._slot = self._second % limits.window_s
        self.limits = limits

    def admits(self, now_ns: int) -> bool:
        """Whether a call may pass. Of a breaker that is not closed the caller must tell `probe_began`."""
        if self.state == "open" and now_ns >= self._until_ns:
            self.state = "half_open"
            self._succeeded = 0
        return self.state == "closed" or (self.state == "half_open" and self.probing < self.limits.probes)

    def wait_s(self, now_ns: int) -> float:
        """Seconds until it is half open; 0 when it is."""
        return max(0.0, (self._until_ns - now_ns) / NS) if self.state == "open" else 0.0

    def succeeded(self, now_ns: int) -> None:
        """A call of the closed breaker gave an answer."""
        second = now_ns // NS
        if second != self._second:
            self._advance(second)
        self._good[self._slot] += 1
        self._in_a_row = 0

    def failed(self, now_ns: int) -> None:
        """A call of the closed breaker failed."""
        second = now_ns // NS
        if second != self._second:
            self._advance(second)
        self._bad[self._slot] += 1
        self._in_a_row += 1
        bad = sum(self._bad)
        calls = bad + sum(self._good)
        limits = self.limits
        if self._in_a_row >= limits.consecutive or (
            calls >= limits.min_calls and 100 * bad >= limits.failure_pct * calls
        ):
            self._open(now_ns)

    def probe_succeeded(self) -> None:
        """A probe gave an answer; enough of them close the breaker."""
        if self.state == "closed":
            return
        self._succeeded += 1
        if self._succeeded >= self.limits.probes:
            self.state = "closed"
            self._open_for_s = 0.0
            self._in_a_row = 0
            self._good = [0] * self.limits.window_s
            self._bad = [0] * self.limits.window_s

    def probe_failed(self, now_ns: int) -> None:
        """A probe failed: open again, for longer."""
        self._succeeded = 0
        if self.state == "half_open":
            self._open(now_ns)

    def _open(self, now_ns: int) -> None:
        limits = self.limits
        self._open_for_s = min(limits.max_open_s, 2 * self._open_for_s if self._open_for_s else limits.open_s)
        self._until_ns = now_ns + round(self._open_for_s * NS)
        self.state = "open"
        self._in_a_row = 0
        self._succeeded = 0

    def _advance(self, second: int) -> None:
        window = self.limits.window_s
        for passed in range(min(window, second - self._second)):
            slot = (second - passed) % window
            self._good[slot] = self._bad[slot] = 0
        self._second = second
        self._slot = second % window
