"""Aliases listed, set and removed while the instance runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from instance.chute import route_store
from instance.chute.aliases import Alias, AliasTable, check_loops
from instance.core.errors import StockyardError
from instance.core.settings import AliasSettings
from instance.system.audit import changed

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.core.principals import Principal
    from instance.core.writer import LedgerEvent

ALIASES_MAX = 1000


class AliasAdmin:
    """The alias table's other side: what `/api/proxy/aliases` does."""

    def __init__(self, core: Core, table: AliasTable) -> None:
        self._core = core
        self._table = table
        self._changing = asyncio.Lock()

    def rows(self) -> list[dict[str, Any]]:
        """Every alias, those of modelalias' own settings too."""
        return [shown(alias) for alias in [*self._table.all(), *self._of_module()]]

    async def put(self, name: str, fields: dict[str, Any], principal: Principal) -> tuple[dict[str, Any], bool]:
        """Stores an alias; says whether it is new. Raises `invalid_value` for one that leads in a circle."""
        async with self._changing:
            stored = self._table.stored
            new = name not in stored
            if new and len(stored) >= ALIASES_MAX:
                raise StockyardError("conflict", f"There are {ALIASES_MAX} aliases, which is the most.")
            try:
                entry = AliasSettings.model_validate(fields)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                param = ".".join(map(str, first["loc"]))
                raise StockyardError("invalid_value", f"{param}: {first['msg']}", param=param) from None
            alias = Alias(name, entry, "stored")
            others = [other for other in self._table.all() if other.name != name]
            check_loops([alias, *others, *self._of_module()])
            event = _event(principal, name, "create" if new else "update", fields)
            await route_store.put_alias(self._core, name, entry.model_dump(mode="json"), event)
            await self._reload()
        return shown(alias), new

    async def delete(self, name: str, principal: Principal) -> None:
        """Removes an alias. Raises `not_found`, `conflict` for one that only the configuration can remove."""
        async with self._changing:
            if name not in self._table.stored:
                if any(alias.name == name for alias in [*self._table.all(), *self._of_module()]):
                    raise StockyardError("conflict", f"{name!r} comes from the configuration; change it there.")
                raise StockyardError("not_found", f"There is no alias {name!r}; GET /api/proxy/aliases lists them.")
            await route_store.delete_alias(self._core, name, _event(principal, name, "delete", ()))
            await self._reload()

    def _of_module(self) -> list[Alias]:
        slot = self._core.services["registry"].slots.get("modelalias")
        aliases: list[Alias] = slot.settings.compiled() if slot is not None and slot.running is not None else []
        return aliases

    async def _reload(self) -> None:
        self._table.replace_stored(await route_store.stored_aliases(self._core))
        registry = self._core.services["registry"]
        slot = registry.slots.get("modelalias")
        if slot is not None and slot.running is not None:
            slot.running.refresh()
        registry.recompile()


def shown(alias: Alias) -> dict[str, Any]:
    """An alias as the API lists it."""
    return {"alias": alias.name, **alias.entry.model_dump(mode="json"), "source": alias.origin}


def _event(principal: Principal, name: str, action: str, fields: Any) -> LedgerEvent:
    return changed(principal, f"alias:{name}", action, fields, event_type="config_change")
