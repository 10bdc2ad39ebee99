"""From the model that is asked for to the targets that can serve the call: routes first, then the providers' own lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from instance.chute.routes import ASKED_MODEL, Route, split_target
from instance.chute.targets import Target
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.chute.providers import ProviderTable
    from instance.chute.route_table import RouteTable
    from instance.core.principals import Principal

FALLBACK_HEADER = b"x-stockyard-fallback"
FALLBACK_MAX = 8
REGIONAL = "regional"
"""In `x.state`: what makes of a target the same one at its address in the call's region; regionroute's."""


class Router:
    """Decides `x.targets`. Modules call it again after they chose another model; it is `core.services["router"]`."""

    def __init__(self, providers: ProviderTable, routes: RouteTable) -> None:
        self.providers = providers
        self.routes = routes

    def resolve(self, x: Exchange) -> None:
        """Fill in `x.targets` and `x.route` for the asked model; where nothing serves it, the reason waits in
        `x.state["no_target"]`, because a module may still choose another. Raises `bad_request` and `forbidden` for headers
        that ask for what they may not."""
        headers = x.headers
        if not x.model_requested:
            x.state["no_target"] = StockyardError(
                "model_required", 'Name a model, for example "mock/gpt".', param="model"
            )
            return
        if not self.routes.active and b"x-stockyard-provider" not in headers and b"x-provider" not in headers:
            try:
                x.targets = self.providers.resolve(x.model_requested)
            except StockyardError as error:
                x.state["no_target"] = error
        else:
            self._choose(x)
        if FALLBACK_HEADER in headers:
            self._take_fallback(x)

    def _choose(self, x: Exchange) -> None:
        provider = pinned_provider(x)
        try:
            x.targets, x.route = self.find(x.model_requested, x.path, provider)
        except StockyardError as error:
            x.state["no_target"] = error
            return
        if provider and x.principal is not None and x.principal.models:
            x.targets = [target for target in x.targets if may_use(x.principal, target)]
            if not x.targets:
                raise StockyardError(
                    "forbidden",
                    f"This key may not use {x.model_requested!r} at {provider!r}.",
                    param="X-Stockyard-Provider",
                )

    def find(self, model: str, path: str, provider: str = "") -> tuple[list[Target], Route | None]:
        """The targets that serve a model, and the route that says so. With `provider` only that one's.

        Raises `unknown_provider`, `no_provider`, `model_not_found`.
        """
        table = self.routes
        if table.active:
            head, slash, _ = model.partition("/")
            route = table.match(model, path, named=bool(slash) and self.providers.knows(head))
            if route is not None:
                targets = self.route_targets(route, model)
                if provider:
                    targets = [target for target in targets if target.provider.name == provider]
                if targets:
                    return targets, route
                if not provider:
                    raise StockyardError(
                        "no_provider",
                        f"No provider of route {route.id} ({route.pattern!r}) can be used; "
                        "GET /api/proxy/providers says what each of them lacks.",
                        param="model",
                    )
        return self.providers.resolve(model, provider), None

    def route_targets(self, route: Route, model: str) -> list[Target]:
        """The route's targets that can be used, in its order; those of weight 0 come last."""
        found: list[Target] = []
        drained: list[Target] = []
        for one in route.targets:
            target = self.target(one.target, asked=model, region=one.region)
            if target is not None:
                (found if one.weight else drained).append(target)
        return found + drained

    def target(self, label: str, *, asked: str = "", region: str = "") -> Target | None:
        """The target of a `provider/model`; `None` when there is no such provider or it cannot be used now.

        `asked` is the model that stands for `provider/*`.
        """
        try:
            target = self.providers.labelled(label)
        except ValueError:
            return None
        if target is None or (not region and target.model != ASKED_MODEL):
            return target
        model = target.model
        if model == ASKED_MODEL:
            head, slash, rest = asked.partition("/")
            model = rest if slash and rest and self.providers.knows(head) else asked
        return Target(target.provider, model, region)

    def group(self, labels: tuple[str, ...], asked: str) -> Mapping[str, Target]:
        """`target` for several, by their labels, without those that cannot be used now. Not to be changed."""
        found = self.providers.group(labels)
        if found is not None:
            return found
        made = ((label, self.target(label, asked=asked)) for label in labels)
        return {label: target for label, target in made if target is not None}

    def permitted(self, x: Exchange, targets: list[Target]) -> list[Target]:
        """Those of the targets that no module forbids, in the call's region."""
        if REGIONAL in x.state:
            targets = in_region(x, targets)
        allow = x.allow
        return [target for target in targets if permits(x, target)] if allow else targets

    def at_pinned(self, x: Exchange, targets: list[Target]) -> list[Target]:
        """Those of the targets that lie at the provider which the caller's header names; all when it names none."""
        pinned = pinned_provider(x)
        return [target for target in targets if target.provider.name == pinned] if pinned else targets

    def may_choose(self, x: Exchange, target: Target) -> bool:
        """Whether a module may send the call to a target that the caller did not name: no module forbids it, the key's
        globs allow it, and it is no other provider than the one that the caller's header names."""
        pinned = pinned_provider(x)
        if pinned and target.provider.name != pinned:
            return False
        if x.principal is not None and not may_use(x.principal, target):
            return False
        return permits(x, target)

    def choosable(self, x: Exchange, targets: list[Target]) -> list[Target]:
        """Those of the targets that `may_choose` says yes to, in the call's region."""
        if REGIONAL in x.state:
            targets = in_region(x, targets)
        principal = x.principal
        if (principal is not None and principal.models) or pinned_provider(x):
            return [target for target in targets if self.may_choose(x, target)]
        allow = x.allow
        if len(allow) == 1:
            allows = allow[0]
            return [target for target in targets if allows(target)]
        return [target for target in targets if permits(x, target)] if allow else targets

    def choose(self, x: Exchange, model: str, provider: str = "") -> bool:
        """Send the call to a model that the caller did not name, if it may go there: the key's globs allow the name or the
        target. False, and nothing changed, when it may not or nothing serves it."""
        try:
            targets, route = self.find(model, x.path, provider)
        except StockyardError:
            return False
        principal = x.principal
        named = principal is None or not principal.models or any(fnmatchcase(model, glob) for glob in principal.models)
        targets = [
            target
            for target in self.permitted(x, self.at_pinned(x, targets))
            if named or (principal is not None and may_use(principal, target))
        ]
        if not targets:
            return False
        x.targets = targets
        x.route = route
        x.state.pop("no_target", None)
        return True

    def retarget(self, x: Exchange, model: str, provider: str = "") -> list[Target]:
        """Send the call to another model (`provider/model`, a bare name, or a name that a route knows) from here on.

        `x.req["model"]` stays what it was: what is sent has the target's own name. Nothing changes when it raises:
        `model_not_found`, `no_provider`, `unknown_provider`, also when no permitted target is left.
        """
        targets, route = self.find(model, x.path, provider)
        targets = self.permitted(x, self.at_pinned(x, targets))
        if not targets:
            pinned = pinned_provider(x)
            raise StockyardError(
                "no_provider",
                f"Nothing that this call may use serves {model!r}" + (f" at {pinned!r}." if pinned else "."),
                param="model",
            )
        x.targets = targets
        x.route = route
        x.state.pop("no_target", None)
        return targets

    def _take_fallback(self, x: Exchange) -> None:
        """Read `X-Stockyard-Fallback` into `x.state["fallback"]`. Raises `bad_request`, `unknown_provider`, `forbidden`."""
        labels = [part.strip() for part in x.headers[FALLBACK_HEADER].decode("latin-1").split(",") if part.strip()]
        if not labels or len(labels) > FALLBACK_MAX:
            raise StockyardError(
                "bad_request", f"Name 1 to {FALLBACK_MAX} targets as provider/model.", param="X-Stockyard-Fallback"
            )
        found = []
        for label in labels:
            try:
                name, _ = split_target(label)
            except ValueError as error:
                raise StockyardError("bad_request", f"{error}.", param="X-Stockyard-Fallback") from None
            if not self.providers.knows(name):
                raise StockyardError(
                    "unknown_provider", f"There is no provider {name!r}.", param="X-Stockyard-Fallback"
                )
            target = self.target(label)
            if target is None:
                continue
            if x.principal is not None and not may_use(x.principal, target):
                raise StockyardError("forbidden", f"This key may not use {label!r}.", param="X-Stockyard-Fallback")
            found.append(target)
        x.state["fallback"] = found
        plan = x.plan
        if plan is not None and all(link.name != "fallbackrouter" for link in plan.links):
            x.warnings.append("X-Stockyard-Fallback is not used while the module fallbackrouter is off")


def permits(x: Exchange, target: Target) -> bool:
    """Whether no module forbids the target for the call."""
    for allows in x.allow:  # noqa: SIM110 - a generator costs more than the question
        if not allows(target):
            return False
    return True


def in_region(x: Exchange, targets: list[Target]) -> list[Target]:
    """The targets, those of which the call's region has an address of its own at that one."""
    here: Callable[[Target], Target] | None = x.state.get(REGIONAL)
    return targets if here is None else [here(target) for target in targets]


def pinned_provider(x: Exchange) -> str:
    """The provider that the caller's header names; empty when it names none."""
    headers = x.headers
    if b"x-stockyard-provider" not in headers and b"x-provider" not in headers:
        return ""
    named = headers.get(b"x-stockyard-provider") or headers.get(b"x-provider")
    return named.decode("latin-1").strip() if named else ""


def may_use(principal: Principal, target: Target) -> bool:
    """Whether the key's globs allow a target: one with a slash is of `provider/model`, one without of the bare model."""
    globs = principal.models
    return not globs or any(
        fnmatchcase(target.label, glob) or ("/" not in glob and fnmatchcase(target.model, glob)) for glob in globs
    )
