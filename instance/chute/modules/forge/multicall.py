"""multicall: asks several models at once and delivers the fastest, the cheapest, what most say, or one made of all."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase, translate
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from instance.chute.answer import Answer
from instance.chute.embedding.embedder import Embedder, embedder_of
from instance.chute.embedding.model_files import missing_packages
from instance.chute.exchange import Exchange
from instance.chute.module import TEXT_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.forge.multi_route import PREFIX, TARGETS_MAX, MultiRoute
from instance.chute.modules.forge.multicall_round import Round
from instance.chute.router import in_region
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.router import Router
    from instance.chute.targets import Target
    from instance.core.core import Core

HEADERS = (b"x-stockyard-route", b"x-multicall-route")
ROUTES_MAX = 100
MODELS_MAX = 4_096
"""Models of which it is remembered whether they stand for a route."""


class MultiCall(Module):
    """Sends one request to several targets at once. An answer is acceptable when it is no error, not empty, and was finished.

    Every answer that came is paid for and part of the call's cost. A caller who streams gets the fastest as it comes; what
    has to be compared is awaited first and then streamed.
    """

    name: ClassVar[str] = "multicall"
    category: ClassVar[str] = "forge"
    group: ClassVar[int] = 10
    summary: ClassVar[str] = "Asks several models at once and delivers the best answer"
    rejects: ClassVar[tuple[str, ...]] = (
        "all_targets_failed",
        "no_consensus",
        "no_provider",
        "model_not_found",
        "bad_request",
    )
    kinds: ClassVar[frozenset[str]] = TEXT_KINDS

    class Settings(ModuleSettings):
        routes: list[MultiRoute] = Field(default=[], max_length=ROUTES_MAX, description="The routes.")
        max_targets: int = Field(default=8, ge=2, le=TARGETS_MAX, description="Most targets of one call.")
        timeout_s: float = Field(default=60.0, gt=0, le=3600, description="Seconds that all of them may take.")

        @model_validator(mode="after")
        def _names_differ(self) -> MultiCall.Settings:
            if len({route.name for route in self.routes}) < len(self.routes):
                raise ValueError("two routes have the same name")
            return self

    settings: Settings

    def __init__(self, settings: ModuleSettings, *, random: Random | None = None) -> None:
        super().__init__(settings)
        self.random = random or Random()
        self.timeout_s = self.settings.timeout_s
        self.clock = Clock()
        self.embedder: Embedder | None = None
        """Compares prose by its meaning, where a route asks for that and can have it."""
        self._core: Core | None = None
        self._by_name = {route.name: route for route in self.settings.routes}
        self._by_glob = [route for route in self.settings.routes if route.match]
        self._passed: dict[str, bool] = {}
        """Model -> whether it stands for no route."""
        self._fits = re.compile("|".join(translate(route.match) for route in self._by_glob)) if self._by_glob else None

    def hooks(self) -> tuple[str, ...]:
        return super().hooks() if self.settings.routes else ()

    async def start(self, core: Core, previous: Module | None) -> None:
        compared = [route for route in self.settings.routes if route.strategy == "consensus"]
        asked = any(route.similarity == "embedder" for route in compared)
        if asked or (not missing_packages() and any(route.similarity == "auto" for route in compared)):
            self.embedder = embedder_of(core)
            await self.embedder.load()
        self._core = core
        self.clock = core.clock
        self._router: Router = core.services["router"]
        if self.settings.routes:
            core.services["multicall"] = self
        elif isinstance(core.services.get("multicall"), MultiCall):
            del core.services["multicall"]

    async def stop(self) -> None:
        if self._core is not None and self._core.services.get("multicall") is self:
            del self._core.services["multicall"]

    def passes(self, x: Exchange) -> bool:
        headers, model = x.headers, x.model_requested
        if HEADERS[0] in headers or HEADERS[1] in headers:
            return False
        passed = self._passed.get(model)
        if passed is None:
            passed = not model.startswith(PREFIX) and (self._fits is None or self._fits.match(model) is None)
            if len(self._passed) >= MODELS_MAX:
                self._passed.clear()
            self._passed[model] = passed
        return passed

    def asked(self, x: Exchange) -> list[Target]:
        """The targets that the call would be sent to, the judge's among them; none when it takes no route. Never raises:
        budgets ask it what they have to reserve for."""
        if self.passes(x):
            return []
        try:
            route = self._route(x)
            if route is None:
                return []
            targets = self._targets(x, route)
            if route.strategy in ("judge", "merge"):
                targets.append(self.resolve(route.judge_model or route.targets[0]))
        except StockyardError:
            return []
        return targets

    async def around(self, x: Exchange, call: Call) -> Answer:
        route = self._route(x)
        if route is None:
            return await call(x)
        targets = self._targets(x, route)
        return await Round(self, x, call, route, targets).answer()

    def _route(self, x: Exchange) -> MultiRoute | None:
        asked = next((x.headers[name].decode("latin-1") for name in HEADERS if name in x.headers), "")
        model = x.model_requested
        if asked:
            param = "X-Stockyard-Route"
        elif model.startswith(PREFIX):
            asked, param = model[len(PREFIX) :], "model"
        else:
            return next((route for route in self._by_glob if fnmatchcase(model, route.match)), None)
        route = self._by_name.get(asked)
        if route is None:
            names = ", ".join(self._by_name)
            raise StockyardError(
                "model_not_found" if param == "model" else "bad_request",
                f"There is no multicall route {asked!r}; there are {names}.",
                param=param,
                module=self.name,
            )
        return route

    def _targets(self, x: Exchange, route: MultiRoute) -> list[Target]:
        """The route's targets that this call may use. Raises the last one's reason when there is none."""
        found: list[Target] = []
        error = StockyardError("no_provider", f"No target of the route {route.name!r} is permitted.", module=self.name)
        for label in route.targets[: self.settings.max_targets]:
            try:
                target = self.resolve(label)
            except StockyardError as refused:
                error = refused
                continue
            found += [here for here in in_region(x, [target]) if self._router.may_choose(x, here)]
        if not found:
            raise error
        return found

    def resolve(self, label: str) -> Target:
        """The target of a model's name. Raises `StockyardError`."""
        assert self._core is not None
        targets: list[Target] = self._core.services["providers"].resolve(label)
        return targets[0]

    @property
    def price(self) -> Callable[[Any], None] | None:
        """What adds the cost lines of a branch."""
        return self._core.services.get("price") if self._core is not None else None
