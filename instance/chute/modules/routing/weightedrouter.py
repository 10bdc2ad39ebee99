"""weightedrouter: spreads one model over several targets by fixed weights."""

from __future__ import annotations

import re
from collections import OrderedDict
from fnmatch import translate
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from instance.chute.call_identity import model_names
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.routing.spread import Spread
from instance.chute.target_label import TargetLabel
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.router import Router
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
        self._groups = [(re.compile(translate(group.model)), group) for group in own.groups]
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
        if router is None:
            return
        found = self._group(x, router)
        if found is None:
            return
        name, weighted = found
        spread = self.spreads.get(name)
        if spread is None:
            spread = self.spreads[name] = Spread()
            if len(self.spreads) > SPREADS_MAX:
                self.spreads.popitem(last=False)
        now_ns = self._clock.mono_ns()
        spread.weigh({label: float(weight) for label, (_, weight) in weighted.items()}, now_ns, self._ramp_ns)
        targets = {label: target for label, (target, _) in weighted.items() if target is not None}
        allowed = {target.label for target in router.permitted(x, list(targets.values()))}
        by_label = {label: target for label, target in targets.items() if target.label in allowed}
        order = spread.order(list(by_label), now_ns, self._ramp_ns, count=not x.dry)
        if not order:
            raise StockyardError(
                "no_provider",
                f"No target of {name!r} can take the call: their weights are 0, or none is permitted and ready.",
                param="model",
            )
        x.targets = [by_label[label] for label in order]
        x.state.pop("no_target", None)
        x.state["weighted"] = True
        drained = [target for label, target in by_label.items() if label not in order]
        if drained:
            x.state[DRAINED] = drained
        x.note("weighted", {"group": name, "picked": x.targets[0].label})

    def report(self) -> dict[str, Any]:
        """How often each target was picked, by group."""
        return {"picks": {name: dict(spread.picks) for name, spread in self.spreads.items()}}

    def _group(self, x: Exchange, router: Router) -> tuple[str, dict[str, tuple[Target | None, int]]] | None:
        """The call's group: its name, and (target, weight) by the label that is written in it."""
        names = model_names(x)
        for pattern, group in self._groups:
            if any(pattern.match(name) for name in names):
                found = {
                    one.target: (router.target(one.target, asked=x.model_requested), one.weight)
                    for one in group.targets
                }
                return group.model, self._at_pinned(x, router, found)
        route = x.route
        if route is None or len(route.targets) < 2:
            return None
        rows: dict[str, tuple[Target | None, int]] = {}
        for target in route.targets:
            label = target.target
            known = rows.get(label)
            made = router.target(label, asked=x.model_requested, region=target.region)
            rows[label] = (made, target.weight + (known[1] if known is not None else 0))
        return f"route {route.id}", self._at_pinned(x, router, rows)

    def _at_pinned(
        self, x: Exchange, router: Router, rows: dict[str, tuple[Target | None, int]]
    ) -> dict[str, tuple[Target | None, int]]:
        """The rows without what the caller's header rules out; their weights count on."""
        return {
            label: (target if target is not None and router.at_pinned(x, [target]) else None, weight)
            for label, (target, weight) in rows.items()
        }
