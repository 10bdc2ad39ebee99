"""The providers that calls can go to, and which of them serve a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from instance.chute import provider_store
from instance.chute.mock_model import MODELS as MOCK_MODELS
from instance.chute.mock_model import MockModel
from instance.chute.model_lists import ModelLists
from instance.chute.provider import Provider
from instance.chute.provider_spec import (
    MOCK,
    ProviderSpec,
    StoredProvider,
    merged_specs,
)
from instance.chute.routes import ASKED_MODEL, split_target
from instance.chute.targets import Target
from instance.chute.upstream import Upstream
from instance.core.errors import StockyardError
from instance.core.settings import ProviderSettings

if TYPE_CHECKING:
    from instance.core.core import Core

RESOLVED_MAX = 4096
KEY_TEXT_MIN_CHARACTERS = 8

Spread = Callable[[Provider, str], list[Target]]
"""The targets of a provider for a model; none when it does not have it."""


class ProviderTable:
    """Every provider of the instance, by name, and the way from a model's name to its targets.

    `key_texts` holds the plain keys in use (of 8 characters or more), for redaction; it is replaced, never changed.
    """

    def __init__(
        self,
        upstream: Upstream,
        mock: MockModel,
        configured: Mapping[str, ProviderSettings] | None = None,
        environ: Mapping[str, str] | None = None,
        stored: dict[str, StoredProvider] | None = None,
    ) -> None:
        self._upstream = upstream
        self._configured = dict(configured or {})
        self._environ = dict(os.environ if environ is None else environ)
        self._mock = Provider(ProviderSpec(MOCK, models=MOCK_MODELS), upstream, mock)
        self._by_name: dict[str, Provider] = {}
        self._resolved: dict[tuple[str, str], list[Target]] = {}
        self._labelled: dict[str, Target] = {}
        self._groups: dict[tuple[str, ...], Mapping[str, Target] | None] = {}
        self._pooled: dict[str, frozenset[str]] = {}
        self._of_clients: dict[str, frozenset[str]] = {}
        self._spread: dict[str, tuple[Spread, frozenset[str], frozenset[str]]] = {}
        self.stored: dict[str, StoredProvider] = {}
        self.key_texts: frozenset[str] = frozenset()
        self.model_lists: ModelLists | None = None
        self.changed: Callable[[], None] | None = None
        """Called after the providers were made anew."""
        self.replace_stored(stored or {})

    @classmethod
    async def open(cls, core: Core, upstream: Upstream, mock: MockModel) -> ProviderTable:
        """The table of an instance: its settings, its environment and what its database holds."""
        stored = await provider_store.stored_providers(core)
        table = cls(upstream, mock, core.settings.providers, core.options.env, stored)
        table.model_lists = ModelLists(table, core.clock)
        return table

    def replace_stored(self, stored: dict[str, StoredProvider]) -> None:
        """Takes the database's rows and makes every provider anew; calls in flight keep the one they have."""
        specs = merged_specs(self._configured, stored, self._environ)
        before = self._by_name
        self.stored = stored
        self._by_name = {MOCK: self._mock}
        for name, spec in sorted(specs.items()):
            old = before.get(name)
            if old is not None and old.spec == spec:
                self._by_name[name] = old
                continue
            made = self._by_name[name] = Provider(spec, self._upstream, health=old.health if old else None)
            if old is not None and old.spec.base_url == spec.base_url:
                made.listed, made.listed_at_ns = old.listed, old.listed_at_ns
        self._take_keys()

    def take_pooled_keys(self, pooled: Mapping[str, Collection[str]]) -> None:
        """Know the keys that the module keypool holds, by provider: such a provider needs none of its own to be called."""
        self._pooled = {name: frozenset(keys) for name, keys in pooled.items() if keys}
        self._take_keys()

    def take_client_keys(self, keys: Mapping[str, Collection[str]]) -> None:
        """Know the keys that clients have of their own (tenantwall), by provider, so that no answer shows them."""
        self._of_clients = {name: frozenset(texts) for name, texts in keys.items() if texts}
        self._take_keys()

    def spread(
        self,
        dialect: str,
        targets: Spread | None,
        models: frozenset[str] = frozenset(),
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        """Let a shim that knows several places of its dialect's providers make the targets (`None`: not any more). `models`
        are the bare names that belong to it, `secrets` the keys of those places, for redaction. Its providers can then be called
        without an address and a key of their own."""
        if targets is None:
            self._spread.pop(dialect, None)
        else:
            self._spread[dialect] = (targets, models, secrets)
        self._take_keys()

    def end_spread(self, dialect: str, targets: Spread) -> None:
        """Undo `spread`, unless another shim has taken the dialect over."""
        if dialect in self._spread and self._spread[dialect][0] == targets:
            self.spread(dialect, None)

    def _take_keys(self) -> None:
        texts = [provider.spec.api_key for provider in self._by_name.values()]
        for provider in self._by_name.values():
            texts += [value for name, value in provider.spec.environment if "SECRET" in name or "TOKEN" in name]
        for keys in (*self._pooled.values(), *self._of_clients.values()):
            texts += keys
        for _, _, secrets in self._spread.values():
            texts += secrets
        self.key_texts = frozenset(text for text in texts if len(text) >= KEY_TEXT_MIN_CHARACTERS)
        for name, provider in self._by_name.items():
            if not provider.is_mock:
                spec = provider.spec
                with_key = spec.usable or (spec.enabled and bool(spec.base_url) and name in self._pooled)
                with_key = with_key or (spec.enabled and spec.type in self._spread)
                provider.usable = with_key and not provider.problem
        self._resolved.clear()
        self._labelled = {}
        self._groups = {}
        if self.changed is not None:
            self.changed()

    @property
    def dialects(self) -> frozenset[str]:
        """What the providers speak that calls can go to, OpenAI's own left out."""
        return frozenset(one.dialect for one in self._by_name.values() if one.usable) - {"openai"}

    def is_configured(self, name: str) -> bool:
        """Whether stockyard.toml names it."""
        return name in self._configured

    def all(self) -> list[Provider]:
        """Every provider, by name; the bundled ones without a key too."""
        return list(self._by_name.values())

    def usable(self) -> list[Provider]:
        """The providers that calls can go to, the preferred ones first."""
        found = [provider for provider in self._by_name.values() if provider.usable]
        return sorted(found, key=lambda provider: (provider.spec.priority, provider.name))

    def get(self, name: str) -> Provider:
        """The provider of that name; raises `not_found`."""
        provider = self._by_name.get(name)
        if provider is None:
            raise StockyardError("not_found", f"There is no provider {name!r}; GET /api/proxy/providers lists them.")
        return provider

    def knows(self, name: str) -> bool:
        """Whether there is a provider of that name."""
        return name in self._by_name

    def take_listed(self, name: str, models: tuple[str, ...], now_ns: int) -> None:
        """Keeps a provider's own list of models."""
        provider = self._by_name.get(name)
        if provider is None:
            return
        if models != provider.listed:
            provider.listed = models
            self._resolved.clear()
        provider.listed_at_ns = now_ns

    def resolve(self, model: str, provider: str = "") -> list[Target]:
        """The targets that serve a model, the preferred one first; a new list at each call.

        `provider/model` names both. A bare name belongs to the providers that list it, else to those whose known
        prefix it has, else to the only provider that is configured. `provider` (a header) overrides all that. Raises
        `unknown_provider`, `no_provider`, `model_not_found`.
        """
        key = (model, provider)
        found = self._resolved.get(key)
        if found is None:
            found = self._find(model, provider)
            if len(self._resolved) >= RESOLVED_MAX:
                self._resolved.clear()
            self._resolved[key] = found
        return found[:]

    def labelled(self, label: str) -> Target | None:
        """The target of a `provider/model`; `None` when there is no such provider or it cannot be used now. Raises `ValueError`
        for what is no such label."""
        found = self._labelled.get(label)
        if found is None:
            name, model = split_target(label)
            provider = self._by_name.get(name)
            if provider is None or not provider.usable:
                return None
            if len(self._labelled) >= RESOLVED_MAX:
                self._labelled.clear()
            found = self._labelled[label] = Target(provider, model)
        return found

    def group(self, labels: tuple[str, ...]) -> Mapping[str, Target] | None:
        """The targets of several `provider/model`, by them, without those that cannot be used now; `None` when one is no such
        label, or stands for whatever model is asked for."""
        try:
            return self._groups[labels]
        except KeyError:
            pass
        if len(self._groups) >= RESOLVED_MAX:
            self._groups.clear()
        found: dict[str, Target] | None = None
        try:
            if all(split_target(label)[1] != ASKED_MODEL for label in labels):
                found = {label: target for label in labels if (target := self.labelled(label)) is not None}
        except ValueError:
            pass
        self._groups[labels] = found
        return found

    def _find(self, model: str, provider: str) -> list[Target]:
        if provider:
            return self._of_named(provider, model)
        head, slash, rest = model.partition("/")
        named = self._by_name.get(head) if slash and rest else None
        if named is not None and named.usable:
            return self._targets(named, rest)
        usable = [one for one in self.usable() if not one.is_mock]
        found = [
            one for one in usable if model in one.spec.models or model in one.listed or self._is_spread(one, model)
        ]
        found = found or [one for one in usable if one.spec.prefixes and model.startswith(one.spec.prefixes)]
        if not found and named is not None:
            raise _unusable(named)
        wanted = [one for one in usable if not one.spec.only_by_name]
        if not found and len(wanted) == 1:
            found = wanted
        if not found:
            raise self._nothing_serves(model, usable)
        return [target for one in found for target in self._targets(one, model)]

    def _is_spread(self, provider: Provider, model: str) -> bool:
        spread = self._spread.get(provider.dialect)
        return spread is not None and model in spread[1]

    def _targets(self, provider: Provider, model: str) -> list[Target]:
        """Where the provider serves the model: one target, or one for each place that its shim knows."""
        spread = self._spread.get(provider.dialect)
        found = spread[0](provider, model) if spread is not None else []
        if found:
            return found
        if not provider.is_mock and not provider.spec.usable and provider.name not in self._pooled:
            raise StockyardError("model_not_found", f"No resource of {provider.name!r} has {model!r}.", param="model")
        return [Target(provider, model)]

    def _of_named(self, name: str, model: str) -> list[Target]:
        provider = self._by_name.get(name)
        if provider is None:
            raise StockyardError("unknown_provider", f"There is no provider {name!r}.", param="X-Stockyard-Provider")
        if not provider.usable:
            raise _unusable(provider)
        return self._targets(provider, model.removeprefix(f"{name}/"))

    def _nothing_serves(self, model: str, usable: list[Provider]) -> StockyardError:
        if usable:
            names = ", ".join(provider.name for provider in usable)
            return StockyardError(
                "model_not_found",
                f"No provider is known to serve {model!r}. Name it as provider/model; configured are {names} and mock.",
                param="model",
            )
        owners = [one for one in self._by_name.values() if one.spec.prefixes and model.startswith(one.spec.prefixes)]
        hint = f"set {owners[0].spec.key_env}" if owners and owners[0].spec.key_env else "set a provider's key"
        return StockyardError(
            "no_provider",
            f"No provider is configured for {model!r}: {hint} in the environment, store one with "
            "POST /api/proxy/providers, or call mock/gpt, which needs none.",
            param="model",
        )


def _unusable(provider: Provider) -> StockyardError:
    spec = provider.spec
    if not spec.enabled:
        reason = "is switched off"
    elif provider.problem:
        reason = f"cannot be used: {provider.problem}"
    elif not spec.base_url:
        reason = f"needs {' and '.join(spec.needs_env)} in the environment" if spec.needs_env else "has no base URL"
    else:
        named = f"set {spec.key_env} or " if spec.key_env else ""
        reason = f"has no key: {named}store one with PUT /api/proxy/providers/{spec.name}"
    return StockyardError("no_provider", f"The provider {spec.name!r} {reason}.", param="model")
