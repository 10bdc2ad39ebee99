"""Providers listed, added, changed, removed and checked while the instance runs."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from instance.chute import provider_store
from instance.chute.provider import Provider
from instance.chute.provider_check import CheckResult, check_chat, check_models
from instance.chute.provider_spec import (
    AUTHS,
    DIALECTS,
    MOCK,
    BadProvider,
    StoredProvider,
    bundled_providers,
    check_headers,
    check_key,
    check_name,
)
from instance.chute.providers import ProviderTable
from instance.chute.upstream import UpstreamUrl
from instance.chute.upstream.dial import resolve
from instance.core.address_policy import AddressPolicy
from instance.core.errors import StockyardError
from instance.core.timestamps import rfc3339
from instance.system.audit import changed

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.core.principals import Principal

PROVIDERS_MAX = 200


class ProviderAdmin:
    """The provider table's other side: what `/api/proxy/providers` does."""

    def __init__(self, core: Core, table: ProviderTable, *, allow_private_networks: bool) -> None:
        self._core = core
        self._table = table
        self._policy = AddressPolicy(allow_private=allow_private_networks)
        self._changing = asyncio.Lock()

    def list(self) -> list[dict[str, Any]]:
        return [self._shown(provider) for provider in self._table.all()]

    def get(self, name: str) -> dict[str, Any]:
        """One provider; raises `not_found`."""
        provider = self._table.get(name)
        spec = provider.spec
        return {
            **self._shown(provider),
            "auth": spec.auth,
            "headers": dict(spec.headers),
            "models": list(spec.models),
            "region": spec.region,
            "priority": spec.priority,
            "timeout_s": spec.timeout_s,
            "enabled": spec.enabled,
            "api_key_set": bool(spec.api_key),
            "origin": spec.origin,
            "openai_base_url": provider.openai_url.text if provider.openai_url is not None else None,
            "speaks": sorted(provider.speaks),
            "routes": self._routes_naming(name),
            "health": self._health_of(name),
        }

    def _health_of(self, name: str) -> dict[str, Any]:
        """What is known against the provider and its targets, and what changed last; empty while healthcheck is off."""
        health = self._core.services.get("health")
        if health is None:
            return {"not_healthy": [], "changes": []}

        def own(rows: Iterable[dict[str, Any]]) -> builtins.list[dict[str, Any]]:
            return [row for row in rows if row["target"] == name or row["target"].startswith(f"{name}/")]

        return {"not_healthy": own(health.rows()), "changes": own(health.changes)}

    def _routes_naming(self, name: str) -> tuple[int, ...]:
        routes = self._core.services.get("routes")
        return tuple(routes.naming(name)) if routes is not None else ()

    def _shown(self, provider: Provider) -> dict[str, Any]:
        breakers = self._core.services.get("breakers")
        health = self._core.services.get("health")
        shown = _shown(provider)
        if breakers is not None:
            shown["circuit"] = breakers.of_provider(provider.name)
        if health is not None and shown["status"] == "active":
            worst = health.of_provider(provider.name)
            shown["status"] = "active" if worst == "healthy" else worst
        return shown

    async def create(self, name: str, fields: dict[str, Any], principal: Principal) -> dict[str, Any]:
        """Stores a provider. Raises `already_exists`, `invalid_value`, `blocked_address`.

        A bundled provider that nobody has stored yet can be created too: that is how it gets its key.
        """
        async with self._changing:
            if name in self._table.stored or self._table.is_configured(name) or name == MOCK:
                raise StockyardError(
                    "already_exists", f"There is a provider {name!r}; change it with PUT.", param="name"
                )
            if len(self._table.stored) >= PROVIDERS_MAX:
                raise StockyardError("conflict", f"There are {PROVIDERS_MAX} providers, which is the most.")
            if not fields.get("base_url") and name not in bundled_providers():
                raise StockyardError(
                    "missing_field", "A provider that is not bundled needs a base_url.", param="base_url"
                )
            row = StoredProvider(name)
            await self._store(row, fields, principal, "create")
        return self.get(name)

    async def update(self, name: str, fields: dict[str, Any], principal: Principal) -> dict[str, Any]:
        """Changes what `fields` names; None gives a field back to configuration and bundled table."""
        async with self._changing:
            self._table.get(name)
            row = self._table.stored.get(name) or StoredProvider(name)
            await self._store(row, fields, principal, "update")
        return self.get(name)

    async def delete(self, name: str, principal: Principal, *, force: bool = False) -> None:
        """Removes what was stored. Raises `not_found`; `conflict` for what only the configuration can remove; unless `force`,
        `in_use` while routes name it."""
        async with self._changing:
            self._table.get(name)
            if name not in self._table.stored:
                raise StockyardError(
                    "conflict",
                    f"{name!r} is not stored here but comes from the program, its configuration or environment.",
                )
            routes = () if force else self._routes_naming(name)
            if routes:
                raise StockyardError(
                    "in_use",
                    f"Routes name {name!r}: {', '.join(map(str, routes))}. Change them, or delete it with ?force=true.",
                    details={"routes": routes},
                )
            await provider_store.remove(self._core, name, _event(principal, name, "delete", ()))
            await self._reload()

    async def check(self, name: str, *, chat: bool = False, model: str = "") -> dict[str, Any]:
        """Asks the provider for its models, or with `chat` for one token; never raises for what the provider does."""
        provider = self._table.get(name)
        if provider.is_mock:
            return _checked(provider, CheckResult(True, 0, 200, ""))
        now = self._core.clock.wall_ns()
        registry = self._core.services.get("registry")
        plan = registry.plan("chat") if registry is not None else None
        result = await (check_chat(provider, model, plan) if chat else check_models(provider))
        if result.models is not None:
            self._table.take_listed(name, result.models, now)
        provider.health.checked(
            result.ok, result.latency_us, result.error, now, bad_key=result.http_status in (401, 403)
        )
        return _checked(provider, result)

    async def models(self, name: str, *, refresh: bool) -> dict[str, Any]:
        """The models that a provider listed when last asked."""
        provider = self._table.get(name)
        if refresh and not provider.is_mock:
            checked = await self.check(name)
            if not checked["ok"]:
                raise StockyardError("provider_error", f"{name} gave no list of models: {checked['error']}")
        models = provider.listed or provider.spec.models
        fetched = rfc3339(provider.listed_at_ns) if provider.listed_at_ns else None
        return {"models": list(models), "count": len(models), "fetched_at": fetched}

    async def _store(self, row: StoredProvider, fields: dict[str, Any], principal: Principal, action: str) -> None:
        if row.name == MOCK:
            raise StockyardError("conflict", "The provider mock is built in and cannot be changed.")
        try:
            check_name(row.name)
            _check_fields(fields)
        except BadProvider as error:
            raise StockyardError("invalid_value", error.message, param=error.param) from error
        if fields.get("base_url"):
            await self._check_address(fields["base_url"])
        if "api_key" in fields:
            fields = {**fields, "key_lost": False}
        event = _event(principal, row.name, action, (name for name in fields if name != "key_lost"))
        await provider_store.put(self._core, replace(row, **fields), event)
        await self._reload()

    async def _check_address(self, base_url: str) -> None:
        """An early word about an address that every call would be refused for. Names are judged again at each call."""
        url = UpstreamUrl.parse(base_url)
        try:
            addresses = await resolve(url.host, url.port)
        except OSError:
            return
        if addresses and not any(self._policy.allows(address) for address in addresses):
            raise StockyardError(
                "blocked_address",
                f"{url.host} is a private, local or special address, which a hosted instance may not call.",
                param="base_url",
            )

    async def _reload(self) -> None:
        self._table.replace_stored(await provider_store.stored_providers(self._core))


def _check_fields(fields: dict[str, Any]) -> None:
    if fields.get("api_key"):
        check_key(fields["api_key"])
    if fields.get("headers"):
        check_headers(fields["headers"])
    if fields.get("base_url"):
        try:
            UpstreamUrl.parse(fields["base_url"])
        except ValueError as error:
            raise BadProvider("base_url", f"{error}") from error
    if fields.get("type") and fields["type"] not in DIALECTS:
        raise BadProvider("type", f"type is one of {', '.join(DIALECTS)}")
    if fields.get("auth") and fields["auth"] not in AUTHS:
        raise BadProvider("auth", f"auth is one of {', '.join(AUTHS)}")


def _event(principal: Principal, name: str, action: str, fields: Any) -> Any:
    return changed(principal, f"provider:{name}", action, fields, event_type="config_change")


def _checked(provider: Provider, result: CheckResult) -> dict[str, Any]:
    return {
        "status": "checked",
        "provider": provider.name,
        "ok": result.ok,
        "latency_ms": result.latency_us / 1000,
        "http_status": result.http_status,
        "models_count": len(provider.listed or provider.spec.models),
        "error": result.error or None,
    }


def _shown(provider: Provider) -> dict[str, Any]:
    health = provider.health
    spec = provider.spec
    return {
        "name": provider.name,
        "type": spec.type,
        "base_url": spec.base_url or None,
        "status": provider.status,
        "key_source": provider.key_source,
        "models_count": len(provider.listed or spec.models),
        "latency_ms": health.latency_us / 1000 if health.latency_us is not None else None,
        "error_count": health.error_count,
        "request_count": health.request_count,
        "last_check": rfc3339(health.last_check_ns) if health.last_check_ns else None,
        "last_error": provider.problem or health.last_error or None,
        "circuit": "closed",
    }
