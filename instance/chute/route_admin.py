"""Routes listed, added, changed and removed while the instance runs."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from instance.chute import route_store
from instance.chute.route_table import RouteTable, made
from instance.chute.routes import ASKED_MODEL, Route, split_target
from instance.core.errors import StockyardError
from instance.core.writer import LedgerEvent
from instance.system.audit import changed

if TYPE_CHECKING:
    from instance.chute.providers import ProviderTable
    from instance.core.core import Core
    from instance.core.principals import Principal

ROUTES_MAX = 1000


class RouteAdmin:
    """The route table's other side: what `/api/proxy/routes` does."""

    def __init__(self, core: Core, table: RouteTable, providers: ProviderTable) -> None:
        self._core = core
        self._table = table
        self._providers = providers
        self._changing = asyncio.Lock()

    def rows(self) -> list[dict[str, Any]]:
        """Every route, the first that applies first."""
        return [shown(route) for route in self._table.routes]

    def get(self, route_id: int) -> dict[str, Any]:
        """One route; raises `not_found`."""
        return shown(self._route(route_id))

    async def create(self, fields: dict[str, Any], principal: Principal) -> dict[str, Any]:
        """Stores a route. Raises `invalid_value` for targets that are none, with the nearest provider's name."""
        async with self._changing:
            self._check(fields)
            if sum(route.id > 0 for route in self._table.routes) >= ROUTES_MAX:
                raise StockyardError("conflict", f"There are {ROUTES_MAX} routes, which is the most.")

            def event(route_id: int) -> LedgerEvent:
                return _event(principal, route_id, "create", fields)

            route_id = await route_store.insert_route(self._core, made(0, fields), [], event)
            await self._reload()
        return self.get(route_id)

    async def update(self, route_id: int, fields: dict[str, Any], principal: Principal) -> dict[str, Any]:
        """Changes what `fields` names. Raises `not_found`, `invalid_value`, `conflict` for a route of stockyard.toml."""
        async with self._changing:
            before = self._stored(route_id)
            self._check(fields)
            values = asdict(before)
            values["targets"] = list(values["targets"])
            for name in ("id", "source"):
                del values[name]
            route = replace(made(route_id, {**values, **fields}), source=before.source)
            await route_store.update_route(self._core, route, _event(principal, route_id, "update", fields))
            await self._reload()
        return self.get(route_id)

    async def delete(self, route_id: int, principal: Principal) -> None:
        """Removes a route. Raises `not_found`, `conflict` for a route of stockyard.toml."""
        async with self._changing:
            self._stored(route_id)
            await route_store.delete_route(self._core, route_id, _event(principal, route_id, "delete", ()))
            await self._reload()

    def _route(self, route_id: int) -> Route:
        route = self._table.get(route_id)
        if route is None:
            raise StockyardError("not_found", f"There is no route {route_id}; GET /api/proxy/routes lists them.")
        return route

    def _stored(self, route_id: int) -> Route:
        route = self._route(route_id)
        if route.source != "stored":
            raise StockyardError("conflict", f"Route {route_id} comes from stockyard.toml; change it there.")
        return route

    def _check(self, fields: dict[str, Any]) -> None:
        for index, target in enumerate(fields.get("targets", ())):
            check_target(self._providers, target["target"], f"targets[{index}].target")
        for index, label in enumerate(fields.get("fallback", ())):
            check_target(self._providers, label, f"fallback[{index}]")

    async def _reload(self) -> None:
        self._table.replace_stored(await route_store.stored_routes(self._core))


def check_target(providers: ProviderTable, label: str, param: str) -> None:
    """Refuse (422) what is no `provider/model` of a provider that there is, with the nearest name."""
    try:
        name, _ = split_target(label)
    except ValueError as error:
        raise StockyardError("invalid_value", f"{error}.", param=param) from None
    if not providers.knows(name):
        near = get_close_matches(name, [provider.name for provider in providers.all()], 1)
        raise StockyardError(
            "invalid_value",
            f"There is no provider {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""),
            param=param,
        )


def shown(route: Route) -> dict[str, Any]:
    """A route as the API lists it; `provider` and `model` are the first target's, `model` is null for the asked one."""
    provider, model = split_target(route.targets[0].target)
    return {
        "id": route.id,
        "path": route.path,
        "method": "POST",
        "pattern": route.pattern,
        "targets": [asdict(target) for target in route.targets],
        "fallback": list(route.fallback),
        "sticky": route.sticky,
        "hedge_after_ms": route.hedge_after_ms,
        "provider": provider,
        "model": None if model == ASKED_MODEL else model,
        "priority": route.priority,
        "enabled": route.enabled,
        "source": route.source,
    }


def _event(principal: Principal, route_id: int, action: str, fields: Any) -> LedgerEvent:
    return changed(principal, f"route:{route_id}", action, fields, event_type="config_change")
