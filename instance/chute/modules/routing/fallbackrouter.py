"""fallbackrouter: goes on to the next target when one cannot answer."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from instance.chute.answer import Answer
from instance.chute.by_model import fitting
from instance.chute.containment import scope_of
from instance.chute.exchange import STANDS_IN, Exchange
from instance.chute.failures import CallFailed, as_error
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.routing.hedge import Failure, race
from instance.chute.modules.routing.hop_reasons import hop_reason, short
from instance.chute.target_label import TargetLabel
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.router import Router
    from instance.chute.targets import Target
    from instance.core.core import Core

Reason = Literal[
    "connect",
    "timeout",
    "429",
    "5xx",
    "breaker_open",
    "model_missing",
    "provider_auth",
    "context_length",
    "content_filter",
]
FALLBACK_TAG = "fallback"
SERVICE = "fallbacks"


class Chain(BaseModel):
    """Targets to go on to, for models that `match` fits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: str = Field(
        min_length=1, max_length=256, description="Glob of the asked model, or of the one chosen for it."
    )
    targets: list[TargetLabel] = Field(min_length=1, max_length=20, description="provider/model, in order.")


class FallbackRouter(Module):
    """Walks `x.targets` and the targets of a chain until one answers.

    The chain is the call's own (`X-Stockyard-Fallback`), else the first of `chains` that fits, else its route's `fallback`.
    Streams go on only before their first content. A route's `hedge_after_ms` asks the second target too when the first is
    slow to begin.
    """

    name: ClassVar[str] = "fallbackrouter"
    category: ClassVar[str] = "routing"
    group: ClassVar[int] = 11
    summary: ClassVar[str] = "Goes on to the next target when one cannot answer"
    rejects: ClassVar[tuple[str, ...]] = ("all_targets_failed", "no_provider")
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        chains: list[Chain] = Field(default=[], max_length=500, description="Targets by model; the first that fits.")
        strategy: Literal["priority", "round_robin", "latency"] = Field(
            default="priority",
            description="Order of a chain's calls: as written, each in turn first, or the fastest first.",
        )
        on: list[Reason] = Field(
            default=["connect", "timeout", "429", "5xx", "breaker_open", "model_missing", "provider_auth"],
            description="Failures that lead to the next target; connect: no or a broken answer, 429: also an empty account.",
        )
        max_hops: int = Field(default=3, ge=0, le=20, description="Targets after the first.")
        allow_header: bool = Field(default=True, description="Let X-Stockyard-Fallback name the targets of a call.")

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._chains = [tuple(chain.targets) for chain in own.chains]
        self._fitting = fitting(chain.match for chain in own.chains)
        self._on = frozenset(own.on)
        self._reads_header = own.allow_header
        self._strategy = own.strategy
        self._most = own.max_hops + 1
        self._turns = [0] * len(own.chains)
        self._services: dict[str, Any] = {}
        self._fits = scope_of(self)

    async def start(self, core: Core, previous: Module | None) -> None:
        self._services = core.services
        if isinstance(previous, FallbackRouter) and len(previous._turns) == len(self._turns):
            self._turns = previous._turns
        core.services[SERVICE] = self

    async def stop(self) -> None:
        if self._services.get(SERVICE) is self:
            del self._services[SERVICE]

    def of(self, x: Exchange) -> list[Target]:
        """The targets to which the call may be sent when its own fail."""
        if self._fits is not None and not self._fits(x):
            return []
        return [] if self.passes(x) else self._chain(x)[0]

    def passes(self, x: Exchange) -> bool:
        """With one target, and none to go on to."""
        route = x.route
        if len(x.targets) > 1 or (route is not None and route.fallback) or "fallback" in x.state:
            return False
        return not self._chains or not self._fitting.of(x)

    async def around(self, x: Exchange, call: Call) -> Answer:
        hops, forbidden = self._hops(x)
        if len(hops) < 2:
            return await (self._only(x, call) if forbidden else call(x))
        route = x.route
        failures: list[tuple[Target, Failure]] = []
        start = 0
        if route is not None and route.hedge_after_ms:
            answer, start = await self._hedged(x, call, hops, failures, route.hedge_after_ms / 1000)
            if answer is not None:
                return self._served(x, answer, hops[0], failures)
        for index in range(start, len(hops)):
            target = hops[index]
            x.targets = hops[index:]
            x.provider_key = None
            began = perf_counter_ns()
            try:
                answer = await call(x)
            except (CallFailed, StockyardError) as failure:
                failures.append((target, failure))
                following = hops[index + 1] if index + 1 < len(hops) else None
                if following is None or not self._goes_on(x, target, following, failure, began):
                    raise self._error(failures) from failure
            else:
                return self._served(x, answer, hops[0], failures) if failures else answer
        raise self._error(failures)

    async def _only(self, x: Exchange, call: Call) -> Answer:
        """A call whose chain has targets, but none that it may use."""
        try:
            return await call(x)
        except (CallFailed, StockyardError) as failure:
            if hop_reason(failure) not in self._on:
                raise
            first = x.targets[0].label if x.targets else x.model_requested
            raise StockyardError(
                "no_provider",
                f"{first}: {short(failure)}, and this call may not use any other target of its chain.",
                headers=dict(failure.headers) if isinstance(failure, StockyardError) else {},
            ) from failure

    async def _hedged(
        self, x: Exchange, call: Call, hops: list[Target], failures: list[tuple[Target, Failure]], after_s: float
    ) -> tuple[Answer | None, int]:
        """The answer of a race of the first two, or where to go on. Raises when their failures end the call."""
        began = perf_counter_ns()
        with x.elsewhere():
            outcome = await race(x, call, hops[0], hops[1], after_s)
        failures += outcome.failures
        if outcome.second_asked:
            x.note(
                "hedge",
                {
                    "first": hops[0].label,
                    "second": hops[1].label,
                    "served": outcome.served.label if outcome.served else None,
                },
                module=self.name,
                hook="around",
            )
        if outcome.answer is not None:
            return outcome.answer, 0
        asked = 2 if outcome.second_asked else 1
        target, failure = outcome.failures[-1]
        following = hops[asked] if asked < len(hops) else None
        if following is None or not self._goes_on(x, target, following, failure, began):
            raise self._error(failures) from failure
        return None, asked

    def _goes_on(self, x: Exchange, target: Target, following: Target, failure: Failure, began: int) -> bool:
        """Whether the failure leads to the next target; says so in the trail."""
        if hop_reason(failure) not in self._on or x.remaining_s() == 0:
            return False
        x.note(
            "hop",
            {
                "from": target.label,
                "to": following.label,
                "reason": short(failure),
                "ms": (perf_counter_ns() - began) // 1_000_000,
            },
            module=self.name,
            hook="around",
        )
        return True

    def _served(self, x: Exchange, answer: Answer, first: Target, failures: list[tuple[Target, Failure]]) -> Answer:
        if failures:
            x.tags = {**x.tags, FALLBACK_TAG: "true"}
        if answer.target is not None and answer.target.model != first.model:
            x.state[STANDS_IN] = True
        return answer

    def _hops(self, x: Exchange) -> tuple[list[Target], bool]:
        """The targets to try, each once: the call's own, then the chain's; at most `max_hops` after the first. And whether
        the chain has targets that the call may not use."""
        own = x.targets
        chain, turn, forbidden = self._chain(x)
        hops = own + chain if chain else own
        if len(hops) > 1:
            hops = _each_once(hops)
            if turn is None or self._strategy == "priority":
                return (hops if len(hops) <= self._most else hops[: self._most]), forbidden
            if self._strategy == "round_robin":
                first = self._turns[turn] % len(hops)
                self._turns[turn] += 1
                hops = hops[first:] + hops[:first]
            elif self._strategy == "latency":
                load = self._services.get("load")
                if load is not None:
                    hops = sorted(hops, key=lambda hop: load.ewma(hop) or 0)
        return hops[: self._most], forbidden

    def _chain(self, x: Exchange) -> tuple[list[Target], int | None, bool]:
        """The permitted targets of the call's chain, the number of the entry of `chains` that they come from, and whether
        it has others that are not permitted."""
        router: Router | None = self._services.get("router")
        if router is None:
            return [], None, False
        if "fallback" in x.state and self._reads_header:
            asked: list[Target] = x.state["fallback"]
            permitted = router.permitted(x, asked)
            return permitted, None, len(permitted) < len(asked)
        fits = self._fitting.of(x) if self._chains else ()
        if fits:
            found = [*router.group(self._chains[fits[0]], x.model_requested).values()]
            chosen = router.choosable(x, found)
            is_whole = chosen is found or len(chosen) == len(found) or len(router.permitted(x, found)) == len(found)
            return chosen, fits[0], not is_whole
        route = x.route
        if route is not None and route.fallback:
            found = self._targets(x, router, route.fallback)
            permitted = router.permitted(x, found)
            return router.at_pinned(x, permitted), None, len(permitted) < len(found)
        return [], None, False

    def _targets(self, x: Exchange, router: Router, labels: Sequence[str]) -> list[Target]:
        found = [router.target(label, asked=x.model_requested) for label in labels]
        return [target for target in found if target is not None]

    def _error(self, failures: list[tuple[Target, Failure]]) -> Failure:
        """The last failure; with more than one the status of the last and the reasons of all."""
        last = failures[-1][1]
        if len(failures) < 2:
            return last
        known = as_error(last)
        reasons = [{"target": target.label, "reason": short(failure)} for target, failure in failures]
        error = StockyardError(
            "all_targets_failed",
            "Every target failed: " + "; ".join(f"{row['target']}: {row['reason']}" for row in reasons) + ".",
            details={"attempts": len(failures), "targets": reasons},
            headers=dict(known.headers),
        )
        error.status = known.status
        return error


def _each_once(hops: list[Target]) -> list[Target]:
    """The targets in their order, without those that stand there before."""
    if len(hops) == 2 and hops[0].label != hops[1].label:
        return hops
    found: list[Target] = []
    for hop in hops:
        label = hop.label
        for other in found:
            if other.label == label and (other is hop or other.url == hop.url):
                break
        else:
            found.append(hop)
    return found
