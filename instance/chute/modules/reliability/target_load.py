"""Load of targets as calls measure it: time to the first content, calls in flight, what is left of rate limits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from math import exp, log
from typing import TYPE_CHECKING, Any

from instance.chute.remaining_quota import remaining_share

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.clock import Clock

TARGETS_MAX = 4096
LN2_PER_NS = log(2) / 1e9


class TargetLoad:
    """One target: `in_flight` calls, and a latency that rises at once with a slower sample and falls slowly."""

    __slots__ = ("_at_ns", "_s", "failing", "in_flight", "share")

    def __init__(self) -> None:
        self.in_flight = 0
        self.share = 1.0
        """What the provider last said is left of its limits, 0 to 1."""
        self.failing = False
        """Whether the last attempt failed: its latency is a penalty then."""
        self._s: float | None = None
        self._at_ns = 0

    def latency_s(self, now_ns: int, half_life_s: float) -> float | None:
        """Seconds to the first content, `None` while unknown. It fades while nothing is in flight, so that a target that
        was slow or failed is tried again."""
        if self._s is None or self.in_flight:
            return self._s
        return self._s * self._faded(now_ns, half_life_s)

    def measured(self, seconds: float, now_ns: int, half_life_s: float) -> None:
        """Take a sample in."""
        self.failing = False
        before = self._s
        if before is None or seconds >= before:
            self._s = seconds
        else:
            share = exp(-LN2_PER_NS * (now_ns - self._at_ns) / half_life_s) if now_ns > self._at_ns else 1.0
            self._s = before * share + seconds * (1 - share)
        self._at_ns = now_ns

    def failed(self, penalty_s: float, now_ns: int, half_life_s: float) -> None:
        """An attempt failed: slower by the penalty, never beyond ten of them."""
        before = self.latency_s(now_ns, half_life_s) or 0.0
        self._s = min(before + penalty_s, max(before, 10 * penalty_s))
        self.failing = True
        self._at_ns = now_ns

    def _faded(self, now_ns: int, half_life_s: float) -> float:
        return exp(-LN2_PER_NS * max(0, now_ns - self._at_ns) / half_life_s)


class Loads:
    """The load of all targets that calls went to; the `TARGETS_MAX` last used are known.

    `core.services["load"]` while the module loadbalancer is on; it outlives changes of its settings.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_key: OrderedDict[str, TargetLoad] = OrderedDict()
        self._last = ""
        """The key that was used last, which stands at the end."""
        self.half_life_s = 10.0
        self.owner: object = None
        """The module that uses them now."""

    def of(self, key: str) -> TargetLoad:
        """The load under a key; a new one where there is none."""
        load = self._by_key.get(key)
        if key == self._last and load is not None:
            return load
        self._last = key
        if load is None:
            load = self._by_key[key] = TargetLoad()
            if len(self._by_key) > TARGETS_MAX:
                idle = next((k for k, one in self._by_key.items() if not one.in_flight), None)
                if idle is not None:
                    del self._by_key[idle]
        else:
            self._by_key.move_to_end(key)
        return load

    def ewma(self, target: Target) -> float | None:
        """Seconds to the target's first content as last measured; `None` when nothing was."""
        load = self._by_key.get(key_of(target))
        return None if load is None else load.latency_s(self._clock.mono_ns(), self.half_life_s)

    def in_flight(self, target: Target) -> int:
        """Calls that the target answers now."""
        load = self._by_key.get(key_of(target))
        return 0 if load is None else load.in_flight

    def latencies(self, loads: list[TargetLoad]) -> list[float]:
        """Seconds of each; one that is new stands at the median of the others that answer, before those that fail."""
        now = self._clock.mono_ns()
        known = [load.latency_s(now, self.half_life_s) for load in loads]
        measured = sorted(
            seconds for load, seconds in zip(loads, known, strict=True) if seconds is not None and not load.failing
        )
        middle = measured[len(measured) // 2] if measured else 0.0
        return [middle if seconds is None else seconds for seconds in known]

    def take_headers(self, key: str, headers: Mapping[bytes, bytes]) -> None:
        """Note what an answer's headers say is left."""
        share = remaining_share(headers)
        if share is not None:
            self.of(key).share = share

    def rows(self) -> list[dict[str, Any]]:
        """Every target as gauges: `{target, latency_ms, in_flight, quota_share}`."""
        now = self._clock.mono_ns()
        rows = []
        for key, load in self._by_key.items():
            seconds = load.latency_s(now, self.half_life_s)
            rows.append(
                {
                    "target": key,
                    "latency_ms": None if seconds is None else round(seconds * 1000, 3),
                    "in_flight": load.in_flight,
                    "quota_share": load.share,
                }
            )
        return rows


def key_of(target: Target) -> str:
    """What a target's load is kept under."""
    return target.label if target.url is None else f"{target.label} {target.url.text}"
