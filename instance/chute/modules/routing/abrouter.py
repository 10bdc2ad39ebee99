"""abrouter: experiments over models and parameters."""

from __future__ import annotations

from fnmatch import fnmatchcase
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instance.chute.by_model import fitting
from instance.chute.call_identity import BUCKETS, bucket, key_id, session_of, user_of, within_share
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.routing.experiment_figures import VariantFigures, differences
from instance.chute.parameter_fit import NEVER_SET
from instance.chute.system_message import with_system_text

if TYPE_CHECKING:
    from instance.chute.router import Router
    from instance.core.core import Core

HEADER = b"x-stockyard-variant"
SERVICE = "experiments"
UNITS_MAX = 4096
"""Units of one experiment whose variant is remembered."""


class Variant(BaseModel):
    """One arm of an experiment; what is not set stays as the call has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1, max_length=100, pattern="^[A-Za-z0-9_.-]+$", description="Shown in traces and headers."
    )
    weight: float = Field(ge=0, le=1_000_000, description="Its share of the experiment's calls.")
    model: str = Field(default="", max_length=256, description="The model instead of the asked one.")
    provider: str = Field(default="", max_length=63, description="Its provider; empty: whoever serves the model.")
    params: dict[str, Any] = Field(default={}, max_length=50, description="Parameters that its calls have.")
    system_suffix: str = Field(default="", max_length=100_000, description="Put after the system message.")

    @field_validator("params")
    @classmethod
    def _settable(cls, params: dict[str, Any]) -> dict[str, Any]:
        wrong = NEVER_SET.intersection(params)
        if wrong:
            raise ValueError(f"{min(wrong)} cannot be set by a variant's params")
        return params


class Experiment(BaseModel):
    """Whose calls take part, and the variants that they are divided among."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1, max_length=100, pattern="^[A-Za-z0-9_.-]+$", description="Decides, with the unit, who gets what."
    )
    match: str = Field(
        default="*", min_length=1, max_length=256, description="Glob of the asked model, or of the one chosen for it."
    )
    teams: list[str] = Field(default=["*"], max_length=200, description="Globs of teams that take part.")
    share_pct: float = Field(default=100.0, ge=0, le=100, description="Share of the units that takes part, in percent.")
    unit: Literal["session", "user", "key", "request"] = Field(
        default="user", description="What always gets the same variant."
    )
    variants: list[Variant] = Field(min_length=1, max_length=20, description="The arms; the first is the control.")
    active: bool = Field(default=True, description="Whether calls take part now.")

    @model_validator(mode="after")
    def _divisible(self) -> Experiment:
        if not any(variant.weight for variant in self.variants):
            raise ValueError("at least one variant needs a weight above 0")
        if len({variant.name for variant in self.variants}) < len(self.variants):
            raise ValueError("two variants have the same name")
        return self


class AbRouter(Module):
    """Gives each session, user, key or call a variant of the first experiment that fits, always the same one.

    The variant is decided by a hash of the experiment's name and the unit, so it stays over restarts. Calls without the
    asked unit are told apart by what comes next: a session's by the user, a user's by the key. What the variants came to is
    the module's report; it begins anew with each start of the instance.
    """

    name: ClassVar[str] = "abrouter"
    category: ClassVar[str] = "routing"
    group: ClassVar[int] = 7
    summary: ClassVar[str] = "Experiments over models and parameters"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        experiments: list[Experiment] = Field(
            default=[], max_length=100, description="Experiments; the first that fits."
        )
        min_samples: int = Field(
            default=100, ge=2, le=10_000_000, description="Calls of each variant below which no difference is shown."
        )

        @field_validator("experiments")
        @classmethod
        def _named_apart(cls, experiments: list[Experiment]) -> list[Experiment]:
            if len({experiment.name for experiment in experiments}) < len(experiments):
                raise ValueError("two experiments have the same name")
            return experiments

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._router: Router | None = None
        self._services: dict[str, Any] = {}
        self._trials = [_Trial(experiment) for experiment in self.settings.experiments if experiment.active]
        self._fitting = fitting(trial.experiment.match for trial in self._trials)
        self.figures: dict[tuple[str, str], VariantFigures] = {}

    async def start(self, core: Core, previous: Module | None) -> None:
        self._router = core.services.get("router")
        self._services = core.services
        before = previous.figures if isinstance(previous, AbRouter) else {}
        for experiment in self.settings.experiments:
            for variant in experiment.variants:
                key = (experiment.name, variant.name)
                self.figures[key] = before.get(key) or VariantFigures()
        core.services[SERVICE] = self

    async def stop(self) -> None:
        if self._services.get(SERVICE) is self:
            del self._services[SERVICE]

    def hooks(self) -> tuple[str, ...]:
        return ("on_request", "on_finish") if self._trials else ()

    def on_request(self, x: Exchange) -> None:
        for place in self._fitting.of(x):
            trial = self._trials[place]
            if trial.teams is not None and not any(fnmatchcase(x.team, glob) for glob in trial.teams):
                continue
            arm = trial.arm(x)
            if arm is not None:
                self._take_part(x, arm)
                return

    def on_finish(self, x: Exchange) -> None:
        if "experiment" not in x.state:
            return
        figures = self.figures.get(x.state["experiment"])
        if figures is None or x.status == "cancelled":
            return
        figures.calls += 1
        if x.status == "error":
            figures.errors += 1
            return
        took_us = (perf_counter_ns() - x.started_ns) // 1000
        figures.latency.add(took_us)
        figures.means["latency_ms"].add(took_us / 1000)
        figures.means["tokens"].add(x.usage.input + x.usage.output)
        figures.means["cost_usd"].add(x.cost_nano / 1e9)
        score = x.state.get("eval_score")
        if isinstance(score, (int, float)):
            figures.means["score"].add(score)

    def rate(self, experiment: str, variant: str, rating: float) -> None:
        """Count a rating of one of the variant's answers; nothing when there is no such variant any more."""
        figures = self.figures.get((experiment, variant))
        if figures is not None:
            figures.means["rating"].add(rating)

    def report(self) -> dict[str, Any]:
        """Each experiment's variants, and how they differ from the first."""
        rows = []
        for experiment in self.settings.experiments:
            figures = {variant.name: self.figures[experiment.name, variant.name] for variant in experiment.variants}
            control, *others = figures
            rows.append(
                {
                    "name": experiment.name,
                    "active": experiment.active,
                    "control": control,
                    "variants": {name: one.shown() for name, one in figures.items()},
                    "differences": {
                        name: differences(figures[control], figures[name], self.settings.min_samples) for name in others
                    },
                }
            )
        return {"experiments": rows}

    def _take_part(self, x: Exchange, arm: _Arm) -> None:
        variant, detail = arm.variant, arm.detail
        if variant.model or variant.provider:
            model = variant.model or (x.targets[0].model if x.targets else x.model_requested)
            if self._router is None or not self._router.choose(x, model, variant.provider):
                x.note("passed_over", {**detail, "why": f"nothing that the call may use serves {model}"})
                return
        if variant.params:
            x.req.update(variant.params)
            x.change()
        if variant.system_suffix and isinstance(x.req.get("messages"), list):
            x.req["messages"] = with_system_text(x.req["messages"], variant.system_suffix, before=False)
            x.change()
        x.state["experiment"] = arm.key
        x.note("variant", {**detail})
        x.tags = {**x.tags, **detail} if x.tags else {**detail}
        x.response_headers.append(arm.header)


class _Arm:
    """A variant with what its calls get."""

    __slots__ = ("detail", "header", "key", "variant")

    def __init__(self, experiment: Experiment, variant: Variant) -> None:
        self.variant = variant
        self.key = experiment.name, variant.name
        self.detail = {"experiment": experiment.name, "variant": variant.name}
        self.header = HEADER, f"{experiment.name}/{variant.name}".encode()


class _Trial:
    """An experiment at work. What a unit got is remembered, as the same ones come again; it is decided anew in the same way."""

    __slots__ = ("_arms", "_bounds", "_given", "_unit", "experiment", "teams")

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.teams = None if "*" in experiment.teams else experiment.teams
        self._unit = experiment.unit
        self._bounds = _bounds(experiment)
        self._arms = [_Arm(experiment, variant) for variant in experiment.variants]
        self._given: dict[str, _Arm | None] = {}

    def arm(self, x: Exchange) -> _Arm | None:
        """The call's variant; `None` when it takes no part."""
        if self._unit == "request":
            return self._decided(x.id)
        unit = _unit(x, self._unit)
        given = self._given
        if unit in given:
            return given[unit]
        if len(given) >= UNITS_MAX:
            given.clear()
        arm = given[unit] = self._decided(unit)
        return arm

    def _decided(self, unit: str) -> _Arm | None:
        experiment = self.experiment
        if not within_share(f"{experiment.name}/share", unit, experiment.share_pct):
            return None
        place = bucket(experiment.name, unit)
        return next(arm for arm, end in zip(self._arms, self._bounds, strict=True) if place < end)


def _bounds(experiment: Experiment) -> list[float]:
    """Where each variant's buckets end. The last that has a weight takes what rounding leaves."""
    total = sum(variant.weight for variant in experiment.variants)
    ends: list[float] = []
    reached = 0.0
    for variant in experiment.variants:
        reached += variant.weight
        ends.append(reached / total * BUCKETS)
    last = max(place for place, variant in enumerate(experiment.variants) if variant.weight)
    ends[last] = BUCKETS
    return ends


def _unit(x: Exchange, kind: str) -> str:
    """Who the call counts as in an experiment."""
    if kind == "request":
        return x.id
    if kind == "session" and (session := session_of(x)):
        return f"session:{session}"
    if kind != "key" and (user := user_of(x)):
        return f"user:{user}"
    return f"key:{key_id(x)}"
