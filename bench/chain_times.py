"""What each module takes of a call: the sum of its hooks, by the clock readings that the plan makes itself.

The scan by the shared matcher, which the first module that asks would pay for all, is a row of its own.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from threading import current_thread, main_thread
from typing import Any

import instance.chute.chain as chain_module
from bench.loop_clock import LoopClock
from instance.chute import containment
from instance.chute.chain import Plan
from instance.chute.delta_hooks import DeltaHooks, Feed
from instance.chute.exchange import Exchange
from instance.chute.matcher import Matcher
from instance.chute.meter import Histogram
from instance.chute.registry import Registry

SCAN = "shared scan"
_scan = Matcher.scan
_take_texts = Exchange.take_texts


class _Adder(Histogram):
    """In place of a module's histogram: adds to the current call's sum."""

    __slots__ = ("_name", "_times")

    def __init__(self, times: Times, name: str) -> None:
        super().__init__()
        self._times = times
        self._name = name

    def add(self, ns: int) -> None:
        self._times.add(self._name, ns)


class Times:
    """Takes the place of the histograms of the registry's modules, in every call instead of every eighth; compiles anew."""

    def __init__(self, registry: Registry, clock: LoopClock) -> None:
        self._clock = clock
        self._now: dict[str, int] = defaultdict(int)
        self._calls: dict[str, list[int]] = defaultdict(list)
        chain_module.SAMPLE_MASK = 0
        chain_module.perf_counter_ns = containment.perf_counter_ns = clock.now_ns  # type: ignore[attr-defined]
        for slot in registry.slots.values():
            slot.meter.histogram = _Adder(self, slot.name)
        registry.recompile()

        def scan(matcher: Matcher, text: str) -> frozenset[int]:
            started = clock.read()
            try:
                return _scan(matcher, text)
            finally:
                took = clock.read() - started
                if current_thread() is main_thread():
                    self.add(SCAN, took)
                    clock.away_ns += took

        Matcher.scan = scan  # type: ignore[method-assign]

    def watch_deltas(self, plan: Plan) -> None:
        """Time `on_delta` too, which the plan does not by itself."""
        plan.deltas = DeltaHooks(tuple((self._timed(link.name, hook), link) for hook, link in plan.deltas.events))

        def take_texts(x: Exchange, module: str, feed: Feed | None) -> None:
            _take_texts(x, module, feed and self._timed(module, feed))

        Exchange.take_texts = take_texts  # type: ignore[method-assign]

    def _timed(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            started = self._clock.now_ns()
            try:
                return hook(*given)
            finally:
                self.add(name, self._clock.now_ns() - started)

        return timed

    def add(self, name: str, ns: int) -> None:
        self._now[name] += ns

    def begin(self) -> None:
        """Forget what was taken so far."""
        self._now.clear()
        self._calls.clear()

    def next_call(self) -> None:
        """The current call is over."""
        for name, ns in self._now.items():
            self._calls[name].append(ns)
        self._now.clear()

    def medians_us(self) -> dict[str, float]:
        """Name -> microseconds of a call, over the calls in which the module did something."""
        return {name: statistics.median(taken) / 1000 for name, taken in self._calls.items()}
