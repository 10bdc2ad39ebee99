"""loadbalancer: of the targets that serve the same model, the one with the least load comes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from random import random as uniform
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import Answer
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed, is_fault
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.reliability.target_load import Loads, TargetLoad, key_of
from instance.chute.router import permits
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.core import Core

GROUPS_MAX = 4096
CONSIDERED_MAX = 8
REPORTED_MAX = 200


class LoadBalancer(Module):
    """Orders the targets that have the first one's model by what calls measured of them; the rest stays behind them.

    A failed attempt makes its target look slower for a while, so that it is avoided and not banned. Targets that
    weightedrouter ordered are left as they are.
    """

    name: ClassVar[str] = "loadbalancer"
    category: ClassVar[str] = "reliability"
    group: ClassVar[int] = 7
    summary: ClassVar[str] = "Sends each call to the equal target with the least measured load"
    rejects: ClassVar[tuple[str, ...]] = ("no_provider",)
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        strategy: Literal["p2c", "least_inflight", "least_latency", "round_robin", "most_quota"] = Field(
            default="p2c",
            description="p2c: of two drawn at random the one with less latency x (in flight + 1); least_inflight; least_latency; "
            "round_robin; most_quota: most left by the provider's rate-limit headers.",
        )
        half_life_s: float = Field(
            default=10.0, gt=0, le=3600, description="Seconds in which a measured latency loses half its weight."
        )
        explore_pct: float = Field(
            default=5.0, ge=0, le=100, description="Share of calls that least_latency sends anywhere, in percent."
        )
        error_penalty_ms: int = Field(
            default=2000, ge=0, le=600_000, description="What a failed attempt adds to its target's latency."
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings, *, random: Callable[[], float] = uniform) -> None:
        super().__init__(settings)
        self._random = random
        self._clock = Clock()
        self._core: Core | None = None
        self.loads = Loads(self._clock)
        self._turns: OrderedDict[str, int] = OrderedDict()
        self._half_life_s = self.settings.half_life_s
        self._penalty_s = self.settings.error_penalty_ms / 1e3

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._clock = core.clock
        self.loads = previous.loads if isinstance(previous, LoadBalancer) else Loads(core.clock)
        self.loads.half_life_s = self.settings.half_life_s
        self.loads.owner = self
        core.services["load"] = self.loads

    async def stop(self) -> None:
        if self.loads.owner is self and self._core is not None:
            self._core.services.pop("load", None)

    def report(self) -> dict[str, Any]:
        """The gauges of the targets that were used last."""
        return {"targets": self.loads.rows()[-REPORTED_MAX:]}

    def on_request(self, x: Exchange) -> None:
        permitted = x.targets
        if not permitted or "weighted" in x.state:
            return  # weightedrouter lets only targets stand that are permitted
        if x.allow:
            permitted = [target for target in permitted if permits(x, target)]
            if not permitted:
                raise StockyardError("no_provider", "No target is permitted for this call.", module=self.name)
        if len(permitted) < 2:
            return
        model = permitted[0].model
        equal = [target for target in permitted if target.model == model]
        if len(equal) > 1:
            loads = [self.loads.of(key_of(target)) for target in equal]
            picked, scores = self._pick(model, loads, takes_turn=not x.dry)
            first = equal[picked]
            x.targets = [first] + [target for target in x.targets if target is not first]
            considered = {
                target.label: round(score, 6)
                for target, score in zip(equal[:CONSIDERED_MAX], scores[:CONSIDERED_MAX], strict=True)
            }
            x.note("lb", {"picked": first.label, "score": round(scores[picked], 6), "considered": considered})

    streams_only = frozenset(("on_finish",))

    async def around(self, x: Exchange, call: Call) -> Answer:
        targets = x.targets
        if not targets:
            return await call(x)
        first = targets[0]
        load = self.loads.of(first.label if first.url is None else key_of(first))
        load.in_flight += 1
        attempts = x.attempts
        known = len(attempts)
        try:
            answer = await call(x)
        except CallFailed as failure:
            load.in_flight -= 1
            self._judge(x, known, failure.target)
            if failure.target is not None:
                self.loads.take_headers(key_of(failure.target), failure.headers)
            raise
        except BaseException:
            load.in_flight -= 1
            raise
        if x.stream and answer.events is not None:
            x.state["load"] = load
        else:
            load.in_flight -= 1
        target = answer.target
        made = len(attempts) - known
        if made == 1 and target is first and attempts[-1]["error"] is None:
            seconds = (x.first_token_ns - x.started_ns) / 1e9 - attempts[-1]["started_ms"] / 1e3
            load.measured(seconds if seconds > 0 else 0.0, self._clock.mono_ns(), self._half_life_s)
        elif made:
            self._judge(x, known, target, load if target is first else None)
        if answer.headers and target is not None:
            self.loads.take_headers(key_of(target), answer.headers)
        return answer

    def on_finish(self, x: Exchange) -> None:
        """A stream was in flight until now."""
        load: TargetLoad | None = x.state.pop("load", None)
        if load is not None:
            load.in_flight -= 1

    def _judge(self, x: Exchange, known: int, last: Target | None, load: TargetLoad | None = None) -> None:
        """Take in the attempts that the call made since: the time to their first content, or a penalty. `load` is that of
        the last one's target, where it is known."""
        now, half_life_s = self._clock.mono_ns(), self._half_life_s
        attempts = x.attempts
        for place in range(known, len(attempts)):
            row = attempts[place]
            error = row["error"]
            # A stream that goes on is marked as cancelled until its end.
            answers = error is None or (error == "cancelled" and row is attempts[-1] and x.first_token_ns)
            if not answers and not is_fault(error, row["status"], count_429=True):
                continue
            if last is None or last.model != row["model"] or last.provider.name != row["provider"]:
                of = self.loads.of(f"{row['provider']}/{row['model']}")
            else:
                of = load or self.loads.of(key_of(last))
            if answers:
                seconds = (x.first_token_ns - x.started_ns) / 1e9 - row["started_ms"] / 1e3
                of.measured(seconds if seconds > 0 else 0.0, now, half_life_s)
            else:
                of.failed(self._penalty_s, now, half_life_s)

    def _pick(self, model: str, loads: list[TargetLoad], *, takes_turn: bool = True) -> tuple[int, list[float]]:
        """The index of the target to use, and each one's score: the smaller the better."""
        strategy = self.settings.strategy
        count = len(loads)
        if strategy == "round_robin":
            turn = self._turns.pop(model, 0)
            self._turns[model] = turn + takes_turn
            if len(self._turns) > GROUPS_MAX:
                self._turns.popitem(last=False)
            return turn % count, [float((index - turn) % count) for index in range(count)]
        if strategy == "least_inflight":
            scores = [float(load.in_flight) for load in loads]
        elif strategy == "most_quota":
            scores = [1.0 - load.share for load in loads]
        elif strategy == "least_latency":
            scores = self.loads.latencies(loads)
            if self._random() * 100 < self.settings.explore_pct:
                return int(self._random() * count) % count, scores
        else:
            latencies = self.loads.latencies(loads)
            scores = [(seconds or 1e-6) * (load.in_flight + 1) for seconds, load in zip(latencies, loads, strict=True)]
            first = int(self._random() * count) % count
            second = (first + 1 + int(self._random() * (count - 1))) % count if count > 1 else first
            return (first if scores[first] <= scores[second] else second), scores
        least = min(scores)
        best = [index for index, score in enumerate(scores) if score == least]
        return best[int(self._random() * len(best)) % len(best)], scores
