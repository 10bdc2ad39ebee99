"""The breakers of all targets, as the module circuitbreaker uses them and others read them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from instance.chute.modules.reliability.breaker import Breaker, State
from instance.core.clock import Clock
from instance.core.timestamps import rfc3339

if TYPE_CHECKING:
    from instance.chute.targets import Target

BREAKERS_MAX = 4096
CHANGES_MAX = 200
WORST: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}


class Breakers:
    """The breakers of all targets that calls went to, at most `BREAKERS_MAX`, and their last changes of state.

    `core.services["breakers"]` while the module is on; it outlives changes of its settings.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.by_key: dict[str, Breaker] = {}
        self.changes: deque[dict[str, Any]] = deque(maxlen=CHANGES_MAX)
        self.owner: object = None
        """The module that uses them now."""

    def state(self, target: Target) -> State:
        """The target's state; closed for one that nothing is known of."""
        breaker = self.by_key.get(key_of(target))
        return "closed" if breaker is None else self._now(breaker)

    def of_provider(self, name: str) -> State:
        """The worst state of the provider's targets."""
        head = f"{name}/"
        states = [self._now(breaker) for key, breaker in self.by_key.items() if key.startswith(head)]
        return max(states, key=WORST.__getitem__, default="closed")

    def rows(self) -> list[dict[str, Any]]:
        """Every breaker that is not closed: `{target, state, half_open_in_s}`."""
        now = self.clock.mono_ns()
        return [
            {"target": breaker.label, "state": self._now(breaker), "half_open_in_s": round(breaker.wait_s(now), 3)}
            for breaker in self.by_key.values()
            if breaker.state != "closed"
        ]

    def _now(self, breaker: Breaker) -> State:
        if breaker.state == "open" and not breaker.wait_s(self.clock.mono_ns()):
            return "half_open"
        return breaker.state

    def keep(self, key: str, breaker: Breaker) -> None:
        """Take a new breaker in; beyond the bound the oldest that is closed goes."""
        if len(self.by_key) >= BREAKERS_MAX:
            oldest = next((k for k, b in self.by_key.items() if b.state == "closed"), next(iter(self.by_key)))
            del self.by_key[oldest]
        self.by_key[key] = breaker

    def changed(self, breaker: Breaker, reason: str) -> None:
        """Remember a change of state."""
        row = {"target": breaker.label, "state": breaker.state, "reason": reason}
        self.changes.append({**row, "at": rfc3339(self.clock.wall_ns())})


def key_of(target: Target) -> str:
    """What a target's breaker is kept under."""
    return target.label if target.url is None else f"{target.label} {target.url.text}"
