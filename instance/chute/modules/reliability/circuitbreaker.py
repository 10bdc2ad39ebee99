"""circuitbreaker: leaves a target alone for a while after it failed too often."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from instance.chute.answer import Answer
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed, is_fault
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.reliability.breaker import Breaker, BreakerLimits
from instance.chute.modules.reliability.breakers import Breakers, key_of
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.core import Core


class CircuitBreaker(Module):
    """One breaker for each target (provider, base URL and model). An open one refuses at once, so that nobody waits for what
    will fail and the target can recover; the only target of a call is never refused unless `spare_last` is off.

    A failure is what says that the target is not well: no connection, a broken answer, a time limit, 5xx. A caller who hangs
    up, his own shorter time limit, and what the provider refuses with 4xx are none.
    """

    name: ClassVar[str] = "circuitbreaker"
    category: ClassVar[str] = "reliability"
    group: ClassVar[int] = 11
    summary: ClassVar[str] = "Leaves a failing target alone for a while, then tries it again with a few calls"
    rejects: ClassVar[tuple[str, ...]] = ("breaker_open",)
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        window_s: float = Field(default=30.0, ge=1, le=3600, description="Seconds over which results are counted.")
        min_calls: int = Field(
            default=10, ge=1, le=100_000, description="Calls in the window from which their share of failures counts."
        )
        failure_pct: float = Field(
            default=50.0, gt=0, le=100, description="Share of failures, in percent, that opens the breaker."
        )
        consecutive: int = Field(default=5, ge=1, le=10_000, description="Failures in a row that open the breaker.")
        open_s: float = Field(
            default=15.0, gt=0, le=3600, description="Seconds it stays open; doubled each time a probe fails."
        )
        max_open_s: float = Field(default=240.0, gt=0, le=86_400, description="The longest it stays open, in seconds.")
        probes: int = Field(
            default=2,
            ge=1,
            le=1000,
            description="Calls let through at a time when half open; as many successes close it.",
        )
        count_429: bool = Field(default=False, description="Whether a 429 counts as a failure.")
        slow_s: float = Field(
            default=0.0,
            ge=0,
            le=86_400,
            description="A first content later than this counts as a failure; 0: none does.",
        )
        spare_last: bool = Field(
            default=True,
            description="Let calls through that have no other permitted target left, or no fallbackrouter that goes on to it.",
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._limits = BreakerLimits(
            ceil(own.window_s),
            own.min_calls,
            own.failure_pct,
            own.consecutive,
            own.open_s,
            max(own.open_s, own.max_open_s),
            own.probes,
        )
        self._slow_ns = round(own.slow_s * 1e9)
        self._services: dict[str, Any] = {}
        self._take_core(Clock())

    def _take_core(self, clock: Clock) -> None:
        self._clock = clock
        self._mono_ns: Callable[[], int] = clock.mono_ns
        self.breakers = Breakers(clock)

    async def start(self, core: Core, previous: Module | None) -> None:
        self._take_core(core.clock)
        if isinstance(previous, CircuitBreaker):
            self.breakers = previous.breakers
            for breaker in self.breakers.by_key.values():
                breaker.use(self._limits)
        self.breakers.owner = self
        self._services = core.services
        core.services["breakers"] = self.breakers

    async def stop(self) -> None:
        if self.breakers.owner is self:
            self._services.pop("breakers", None)

    def report(self) -> dict[str, Any]:
        """What is not closed, and the last changes of state."""
        return {"circuits": self.breakers.rows(), "changes": list(self.breakers.changes)}

    streams_only = frozenset(("on_finish",))

    async def around(self, x: Exchange, call: Call) -> Answer:
        targets = x.targets
        if not targets:
            return await call(x)
        target = targets[0]
        breaker = self.breakers.by_key.get(target.label if target.url is None else key_of(target))
        if breaker is not None and breaker.state != "closed":
            return await self._guarded(x, call, breaker, target)
        began = self._mono_ns() if self._slow_ns else 0
        try:
            answer = await call(x)
        except CallFailed as failure:
            if self._counts(failure):
                self._failed(x, self._breaker(target), str(failure))
            raise
        if breaker is None or breaker.base_url is not target.provider.url:
            breaker = self._breaker(target)
        now = self._mono_ns()
        if began and now - began > self._slow_ns:
            self._failed(x, breaker, "slow")
        elif breaker.state == "closed":
            breaker.succeeded(now)
        if answer.events is not None:
            x.state["breaker"] = (breaker, x.attempts[-1] if x.attempts else {})
        return answer

    async def _guarded(self, x: Exchange, call: Call, breaker: Breaker, target: Target) -> Answer:
        """A call while the breaker is not closed: refused, a probe, or the only way there is."""
        now = self._mono_ns()
        before = breaker.state
        if breaker.admits(now):
            if breaker.state != before:
                self._changed(x, breaker, "its time was over")
        elif not self.settings.spare_last or self._has_another(x):
            raise self._refused(x, breaker, now)
        breaker.probing += 1
        try:
            answer = await call(x)
        except CallFailed as failure:
            if self._counts(failure):
                before = breaker.state
                breaker.probe_failed(self._mono_ns())
                if breaker.state != before:
                    self._changed(x, breaker, f"a probe failed: {failure}")
            raise
        finally:
            breaker.probing -= 1
        slow = self._slow_ns and self._mono_ns() - now > self._slow_ns
        before = breaker.state
        if slow:
            breaker.probe_failed(self._mono_ns())
        else:
            breaker.probe_succeeded()
        if breaker.state != before:
            self._changed(x, breaker, "slow" if slow else "probes succeeded")
        if answer.events is not None:
            x.state["breaker"] = (breaker, x.attempts[-1] if x.attempts else {})
        return answer

    def on_finish(self, x: Exchange) -> None:
        """A stream that died after its first content."""
        if not x.stream:
            return
        kept = x.state.get("breaker")
        if kept is None:
            return
        breaker, row = kept
        error = row.get("error")
        if error is None or not is_fault(error, row.get("status", 0) if error != "http" else 502):
            return
        if breaker.state == "closed":
            self._failed(x, breaker, f"a stream broke off: {error}")
        else:
            breaker.probe_failed(self._mono_ns())

    def _counts(self, failure: CallFailed) -> bool:
        return failure.blames_target and is_fault(failure.kind, failure.status, count_429=self.settings.count_429)

    def _breaker(self, target: Target) -> Breaker:
        """The target's breaker; a new one where there is none, or the provider's address is another now."""
        key = key_of(target)
        breaker = self.breakers.by_key.get(key)
        url = target.provider.url
        if breaker is not None:
            if breaker.base_url is url:
                return breaker
            if breaker.base_url == url:
                breaker.base_url = url
                return breaker
            del self.breakers.by_key[key]
        breaker = Breaker(target.label, self._limits, self._mono_ns(), url)
        self.breakers.keep(key, breaker)
        return breaker

    def _failed(self, x: Exchange, breaker: Breaker, reason: str) -> None:
        if breaker.state == "closed":
            breaker.failed(self._mono_ns())
            if breaker.state != "closed":
                self._changed(x, breaker, reason)

    def _changed(self, x: Exchange, breaker: Breaker, reason: str) -> None:
        self.breakers.changed(breaker, reason)
        detail = {"target": breaker.label, "state": breaker.state}
        x.note("breaker", detail, module=self.name, hook="around")

    def _has_another(self, x: Exchange) -> bool:
        """Whether the call goes on to another target when this one is refused."""
        plan = x.plan
        if plan is not None and all(link.name != "fallbackrouter" for link in plan.links):
            return False
        return any(all(allows(other) for allows in x.allow) for other in x.targets[1:])

    def _refused(self, x: Exchange, breaker: Breaker, now_ns: int) -> StockyardError:
        x.note("breaker", {"target": breaker.label, "state": breaker.state}, module=self.name, hook="around")
        wait_s = max(1, ceil(breaker.wait_s(now_ns)))
        return StockyardError(
            "breaker_open",
            f"{breaker.label} failed too often and is left alone for {wait_s} s.",
            details={"target": breaker.label},
            headers={"Retry-After": str(wait_s)},
            module=self.name,
        )
