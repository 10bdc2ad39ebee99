"""modelswitch: chooses another model by rules over the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from instance.chute.call_identity import session_of, user_of, within_share
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.routing.switch_conditions import Measures, When
from instance.chute.worst_case import worst_case_nano
from instance.core.errors import StockyardError
from instance.core.money import nano_to_usd

if TYPE_CHECKING:
    from instance.chute.router import Router
    from instance.core.core import Core

RULE_TAG = "route_rule"


class Rule(BaseModel):
    """One rule: the model that calls get for which all of its conditions hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, description="Shown in the trail and in traces.")
    when: When = Field(description="Conditions, all of which must hold; none: every call.")
    model: str = Field(
        min_length=1, max_length=256, description="The model instead: provider/model, a bare name or a route's."
    )
    provider: str = Field(default="", max_length=63, description="Its provider; empty: whoever serves the model.")
    share_pct: float = Field(
        default=100.0, ge=0, le=100, description="Share of such sessions that it takes, in percent."
    )


class ModelSwitch(Module):
    """The first rule whose conditions hold sets the call's model. A rule that leads nowhere is passed over.

    A share is decided by the call's session, else its user, else the call, so that a session does not flap. A rule never
    leads out of what the call's key may use, nor away from a provider that the caller's header names.
    """

    name: ClassVar[str] = "modelswitch"
    category: ClassVar[str] = "routing"
    group: ClassVar[int] = 7
    summary: ClassVar[str] = "Chooses the model by rules over the request"
    rejects: ClassVar[tuple[str, ...]] = ("model_required", "no_provider")
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        rules: list[Rule] = Field(default=[], max_length=500, description="Rules; the first that holds decides.")
        default_model: str = Field(default="", max_length=256, description="The model of calls that name none.")

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._rules = [(tuple(rule.when.tests()), rule) for rule in self.settings.rules]
        self._services: dict[str, Any] = {}
        self._router: Router | None = None
        self.fills_model = bool(self.settings.rules or self.settings.default_model)

    async def start(self, core: Core, previous: Module | None) -> None:
        self._services = core.services
        self._router = core.services.get("router")

    def hooks(self) -> tuple[str, ...]:
        return ("on_request",) if self.fills_model else ()

    def on_request(self, x: Exchange) -> None:
        router = self._router
        if router is None:
            return
        measures = Measures(self._cost_usd)
        for tests, rule in self._rules:
            for test in tests:
                if not test(x, measures):
                    break
            else:
                if self._takes(x, router, rule):
                    return
        if not x.model_requested:
            self._use_default(x, router)

    def _takes(self, x: Exchange, router: Router, rule: Rule) -> bool:
        """Send a call for which the rule holds where it leads, if that may be."""
        if not within_share(rule.name, session_of(x) or user_of(x) or x.id, rule.share_pct):
            return False
        before = x.targets[0].label if x.targets else x.model_requested
        if not router.choose(x, rule.model, rule.provider):
            x.note("passed_over", {"rule": rule.name, "why": f"nothing that the call may use serves {rule.model}"})
            return False
        x.note("route", {"rule": rule.name, "from": before, "to": x.targets[0].label})
        x.tags = {**x.tags, RULE_TAG: rule.name}
        return True

    def _use_default(self, x: Exchange, router: Router) -> None:
        """The default model for a call that names none. Raises `model_required` without one."""
        model = self.settings.default_model
        if not model:
            raise StockyardError(
                "model_required",
                'Name a model, for example "mock/gpt": no rule chose one.',
                param="model",
                retryable=False,
            )
        if not router.choose(x, model):
            raise StockyardError("no_provider", f"Nothing that this call may use serves the default model {model!r}.")
        x.note("route", {"rule": "default_model", "from": "", "to": x.targets[0].label})

    def _cost_usd(self, x: Exchange) -> float | None:
        prices = self._services.get("prices")
        if prices is None or not x.targets:
            return None
        nano, unpriced = worst_case_nano(x, prices, targets=x.targets[:1])
        return None if unpriced is not None else nano_to_usd(nano)
