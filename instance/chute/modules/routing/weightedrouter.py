"""weightedrouter: spreads one model over several targets by fixed weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from instance.chute.by_model import fitting
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.routing.spread import Spread
from instance.chute.router import REGIONAL, in_region, permits, pinned_provider
from instance.chute.target_label import TargetLabel
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.router import Router
    from instance.chute.routes import Route
    from instance.chute.targets import Target
    from instance.core.core import Core

SPREADS_MAX = 4096
DRAINED = "drained_targets"
"""In `x.state`: targets of weight 0, which only a session that is pinned to one may use."""


class Weighted(BaseModel):
    """One target of a group."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: TargetLabel = Field(description="provider/model")
    weight: int = Field(default=1, ge=0, le=1_000_000, description="Its share; 0: nothing new goes to it.")


class Group(BaseModel):
    """One model and the targets that it is spread over."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        min_length=1, max_length=256, description="Glob of the asked model, or of the one chosen for it."
    )
    targets: list[Weighted] = Field(min_length=1, max_length=100, description="Targets with their weights.")


class WeightedRouter(Module):
    """Orders `x.targets` by smooth weighted round-robin: the pick first, the others by weight.

    A call is spread over the first of `groups` that fits, else over the targets of its route.
    """

    name: ClassVar[str] = "weightedrouter"
    category: ClassVar[str] = "routing"
    group: ClassVar[int] = 7
    summary: ClassVar[str] = "Spreads one model over several targets by weights"
    rejects: ClassVar[tuple[str, ...]] = ("no_provider",)
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        groups: list[Group] = Field(default=[], max_length=500, description="Targets by model; beside those of routes.")
        ramp_s: float = Field(default=0.0, ge=0, le=604_800, description="Seconds that a change of weights takes.")

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._groups = [_at_work(group) for group in own.groups]
        self._fitting = fitting(group.model for group in own.groups)
        self._ramp_ns = round(own.ramp_s * 1e9)
        self._clock = Clock()
        self._router: Router | None = None
        self.spreads: OrderedDict[str, Spread] = OrderedDict()
        """By group or route; at most `SPREADS_MAX`."""

    async def start(self, core: Core, previous: Module | None) -> None:
        self._clock = core.clock
        self._router = core.services.get("router")
        if isinstance(previous, WeightedRouter):
            self.spreads = previous.spreads

    def on_request(self, x: Exchange) -> None:
        router = self._router
        if router is None or not (self._groups or x.route is not None):
            return
        fits = self._fitting.of(x) if self._groups else ()
        if fits:
            name, labels, weights = self._groups[fits[0]]
            made = router.group(labels, x.model_requested)
        elif x.route is None or len(x.route.targets) < 2:
            return
        else:
            name = f"route {x.route.id}"
            weights, made = _of_route(router, x.route, x.model_requested)
        spread = self.spreads.get(name)
        if spread is None:
            spread = self.spreads[name] = Spread()
            if len(self.spreads) > SPREADS_MAX:
                self.spreads.popitem(last=False)
        now_ns = self._clock.mono_ns()
        spread.weigh(weights, now_ns, self._ramp_ns)
        usable = _usable(x, made)
        order = spread.order(usable, now_ns, self._ramp_ns, count=not x.dry)
        if not order:
            raise StockyardError(
                "no_provider",
                f"No target of {name!r} can take the call: their weights are 0, or none is permitted and ready.",
                param="model",
            )
        x.targets = [usable[label] for label in order]
        state = x.state
        if "no_target" in state:
            del state["no_target"]
        state["weighted"] = True
        if len(order) < len(usable):
            state[DRAINED] = [target for label, target in usable.items() if label not in order]
        x.note("weighted", {"group": name, "picked": x.targets[0].label})

    def report(self) -> dict[str, Any]:
        """How often each target was picked, by group."""
        return {"picks": {name: dict(spread.picks) for name, spread in self.spreads.items()}}


def _at_work(group: Group) -> tuple[str, tuple[str, ...], dict[str, float]]:
    """A group's name, its labels, and their weights."""
    weights = {one.target: float(one.weight) for one in group.targets}
    return group.model, tuple(weights), weights


def _of_route(router: Router, route: Route, asked: str) -> tuple[dict[str, float], dict[str, Target]]:
    """The weights and the targets of a route, by the labels that are written in it."""
    weights: dict[str, float] = {}
    made: dict[str, Target] = {}
    for one in route.targets:
        label = one.target
        weights[label] = weights.get(label, 0.0) + one.weight
        target = router.target(label, asked=asked, region=one.region)
        if target is None:
            made.pop(label, None)
        else:
            made[label] = target
    return weights, made


def _usable(x: Exchange, made: Mapping[str, Target]) -> Mapping[str, Target]:
    """Those of the targets that no module forbids and the caller's header does not rule out."""
    headers = x.headers
    if REGIONAL in x.state:
        made = dict(zip(made, in_region(x, [*made.values()]), strict=True))
    pinned = "" if b"x-stockyard-provider" not in headers and b"x-provider" not in headers else pinned_provider(x)
    if not pinned:
        for allows in x.allow:
            if not all(map(allows, made.values())):
                break
        else:
            return made
    return {
        label: target
        for label, target in made.items()
        if (not pinned or target.provider.name == pinned) and permits(x, target)
    }
