"""The prices in use: the instance's own over the bundled ones.

A model that is in neither has no price: `None`, never zero, so that a cost that is not known is not shown as nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from instance.chute.catalogue import Catalogue, bundled_providers_with_models
from instance.chute.price import FREE, Price, per_hour, price_in_usd
from instance.core.settings import PriceSettings

if TYPE_CHECKING:
    from instance.chute.targets import Target

KNOWN_MAX = 4096
FREE_PROVIDERS = frozenset(("mock", "localsync"))
"""What costs nothing unless the instance sets a price."""
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")


class PriceTable:
    """`own` is the settings' section `[prices]`: `provider/model` -> dollars. Raises `ValueError` for another label."""

    def __init__(self, own: Mapping[str, PriceSettings] | None = None, catalogue: Catalogue | None = None) -> None:
        self.catalogue = catalogue or Catalogue()
        self._own = {_split(label): _own_price(row) for label, row in (own or {}).items()}
        self._known: dict[tuple[str, str, str], Price | None] = {}

    def of(self, target: Target) -> Price | None:
        """What the target's model costs; `None` when that is not known."""
        known = target.known_price
        if known is None or known[0] is not self:
            provider = target.provider
            known = target.known_price = self, self.lookup(provider.name, target.model, provider.dialect)
        return known[1]

    def lookup(self, provider: str, model: str, dialect: str = "") -> Price | None:
        """The price of a model at a provider; `None` when it is not known.

        A dated snapshot that has no row of its own costs what its undated name costs. The mock model costs nothing unless
        the instance sets a price.
        """
        key = (provider, model, dialect)
        known = self._known
        if key in known:
            return known[key]
        if len(known) >= KNOWN_MAX:
            known.clear()
        price = known[key] = self._find(provider, model, dialect)
        return price

    def _find(self, provider: str, model: str, dialect: str) -> Price | None:
        for name in (model, _SNAPSHOT.sub("", model)):
            if (provider, name) in self._own:
                return self._own[provider, name]
        if provider in FREE_PROVIDERS:
            return FREE
        found = self.catalogue.find(provider, model, dialect)
        if found is not None:
            return found.price
        return None

    def own(self, provider: str) -> list[str]:
        """The models of a provider that have a price in the settings."""
        return [model for name, model in self._own if name == provider]

    def rows(self) -> Iterator[tuple[str, str, Price]]:
        """Every price in use as (provider, model, price), by name."""
        merged = dict(self._own)
        for provider in bundled_providers_with_models():
            for model in self.catalogue.models(provider):
                if model.price is not None and provider != "mock":
                    merged.setdefault((provider, model.name), model.price)
        for provider, name in sorted(merged):
            yield provider, name, merged[provider, name]


def _split(label: str) -> tuple[str, str]:
    provider, _, model = label.partition("/")
    if not provider or not model:
        raise ValueError(f"{label!r} is not a provider/model")
    return provider, model


def _own_price(row: PriceSettings) -> Price:
    minute = row.per_audio_minute_usd
    written = {
        "input": row.in_usd_per_mtok,
        "output": row.out_usd_per_mtok,
        "cached_input": row.cached_in_usd_per_mtok,
        "cache_write": row.cache_write_usd_per_mtok,
        "cache_write_1h": row.cache_write_1h_usd_per_mtok,
        "reasoning": row.reasoning_usd_per_mtok,
        "audio_input": row.audio_in_usd_per_mtok,
        "audio_output": row.audio_out_usd_per_mtok,
        "image_input": row.image_in_usd_per_mtok,
        "image_output": row.image_out_usd_per_mtok,
        "characters": row.per_million_characters_usd,
        "image": row.per_image_usd,
        "audio_hour": None if minute is None else per_hour(minute),
        "request": row.per_request_usd,
        "search": row.per_search_usd,
    }
    return price_in_usd({name: value for name, value in written.items() if value is not None}, "custom")
