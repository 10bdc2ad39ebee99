"""paramnorm: makes the same parameters work on every model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from instance.chute.answer import Answer
from instance.chute.exchange import Exchange
from instance.chute.model_parameters import Matched, ModelParameters, bundled_rules
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.parameter_fit import NEVER_SET, Change, Fit
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.catalogue import Catalogue
    from instance.chute.targets import Target
    from instance.core.core import Core

FITS_MAX = 4096
OPENAI_DIALECTS = ("openai", "azure")


class ParamNorm(Module):
    """Fits each attempt's parameters to the target that it goes to; the call itself stays as it was asked.

    What a model takes is known from the catalogue of models, from `data/parameters.toml`, and from `table`. Every change is
    in the trail. A request that came in the provider's own dialect is left alone, but for defaults and locks.
    """

    name: ClassVar[str] = "paramnorm"
    category: ClassVar[str] = "core"
    group: ClassVar[int] = 12
    summary: ClassVar[str] = "Makes the same parameters work on every model"
    rejects: ClassVar[tuple[str, ...]] = ("unsupported_parameter",)
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        on_unsupported: Literal["drop", "reject"] = Field(
            default="drop", description="What happens to a parameter that the model does not take: left away, or 400."
        )
        temperature: Literal["clamp", "scale"] = Field(
            default="clamp",
            description="For models that take 0 to 1 or less than 2: cut what is above, or map 0-2 to their scale.",
        )
        defaults: dict[str, dict[str, Any]] = Field(
            default={},
            max_length=500,
            description="By glob of the model: values for parameters that a call does not set.",
        )
        locks: dict[str, dict[str, Any]] = Field(
            default={}, max_length=500, description="By glob of the model: values that parameters always have."
        )
        table: dict[str, ModelParameters] = Field(
            default={}, max_length=500, description="By glob of the model: what it does with parameters; goes last."
        )
        add_stream_usage: bool = Field(
            default=True, description="Ask for usage in streams; clients who did not ask do not see it."
        )

        @field_validator("defaults", "locks")
        @classmethod
        def _settable(cls, rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
            for glob, values in rows.items():
                wrong = NEVER_SET.intersection(values)
                if wrong:
                    raise ValueError(f"{glob}: {min(wrong)} cannot be set here")
            return rows

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._rules = [*bundled_rules(), *((Matched(glob), rule) for glob, rule in own.table.items())]
        self._defaults = [(Matched(glob), values) for glob, values in own.defaults.items()]
        self._locks = [(Matched(glob), values) for glob, values in own.locks.items()]
        self._fits: dict[tuple[str, str], Fit | None] = {}
        self._catalogue: Catalogue | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._catalogue = core.services.get("catalogue")

    def passes(self, x: Exchange) -> bool:
        """Whether the first target takes the request as it is."""
        targets = x.targets
        if not targets:
            return True
        if x.stream and self._quiet(x):
            return False
        target = targets[0]
        key = target.label, target.provider.dialect
        fits = self._fits
        fit = fits[key] if key in fits else self._fit(target)
        return fit is None or fit.suits(x.req)

    async def around(self, x: Exchange, call: Call) -> Answer:
        target = x.targets[0]
        return await self._fitted(x, call, target, self._fit_of(target), self._quiet(x))

    def _quiet(self, x: Exchange) -> bool:
        return x.stream and not x.usage_asked and not self.settings.add_stream_usage

    def _fit_of(self, target: Target) -> Fit | None:
        try:
            return self._fits[target.label, target.provider.dialect]
        except KeyError:
            return self._fit(target)

    async def _fitted(self, x: Exchange, call: Call, target: Target, fit: Fit | None, quiet: bool) -> Answer:
        asked, changed, usage_asked = x.req, x.changed, x.usage_asked
        changes: list[Change] = []
        if fit is not None and not x.operation.multipart:
            x.req, changes = fit.fitted(asked, own_only=_goes_as_it_came(x, target))
        if changes:
            try:
                self._tell(x, target, changes)
            except StockyardError:
                x.req = asked
                raise
            x.changed = True
        if quiet:
            # A stream whose caller is taken to have asked is sent as it is: nobody adds the question.
            x.usage_asked = True
        answers = x.req.get("n")
        try:
            answer = await call(x)
        except BaseException:
            x.req = asked
            raise
        else:
            # What counts the answers of a stream has to know how many were asked for in the end.
            x.req = asked if answers == asked.get("n") else {**asked, "n": answers}
            return answer
        finally:
            x.changed = changed
            x.usage_asked = usage_asked

    def _tell(self, x: Exchange, target: Target, changes: list[Change]) -> None:
        """Leave the changes in the trail, once for each target. Raises `unsupported_parameter` where they are not wanted."""
        if self.settings.on_unsupported == "reject":
            for change in changes:
                if change.unsupported:
                    raise StockyardError(
                        "unsupported_parameter",
                        f"The model {target.label!r} does not take `{change.name}`; leave it away.",
                        param=change.name,
                        module=self.name,
                        retryable=False,
                    )
        told: set[str] = x.state.setdefault("paramnorm", set())
        if target.label in told:
            return
        told.add(target.label)
        for change in changes:
            x.note(
                "param",
                {"name": change.name, "from": change.before, "to": change.after, "why": change.why},
                module=self.name,
                hook="around",
            )

    def _fit(self, target: Target) -> Fit | None:
        """What is known of the target; `None` when nothing ever has to change for it."""
        provider = target.provider
        names = (provider.name, provider.dialect, target.model)
        fit = Fit(keeps_neutral=provider.dialect in OPENAI_DIALECTS, scale=self.settings.temperature == "scale")
        if self._catalogue is not None:
            known = self._catalogue.of(target)
            if known is not None:
                fit.add_catalogue(known)
        for pattern, rule in self._rules:
            if pattern.fits(*names):
                fit.add(rule)
        for pattern, values in self._defaults:
            if pattern.fits(*names):
                fit.defaults.update(values)
        for pattern, values in self._locks:
            if pattern.fits(*names):
                fit.locks.update(values)
        fit.seal()
        if len(self._fits) >= FITS_MAX:
            self._fits.clear()
        found = self._fits[target.label, provider.dialect] = None if fit.idle else fit
        return found


def _goes_as_it_came(x: Exchange, target: Target) -> bool:
    """Whether the provider gets the caller's own dialect: what it was written for needs no fitting."""
    if x.native is None or x.changed:
        return False
    provider = target.provider
    shim = x.plan.shims.get(provider.dialect) if x.plan is not None and provider.dialect != "openai" else None
    if shim is not None:
        return bool(shim[0].module.takes_as_it_is(x, target))  # type: ignore[attr-defined]
    return x.operation.dialect in provider.speaks
