"""A place that can serve a call: a provider and the model as that provider names it."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance.chute.catalogue import Catalogue, Model
    from instance.chute.price import Price
    from instance.chute.prices import PriceTable
    from instance.chute.provider import Provider
    from instance.chute.upstream import UpstreamUrl


class Target:
    """One (provider, model, region) that could serve the call."""

    __slots__ = ("header_lines", "known_model", "known_price", "label", "model", "provider", "region", "url")

    def __init__(self, provider: Provider, model: str, region: str = "", url: UpstreamUrl | None = None) -> None:
        self.provider = provider
        self.model = model
        self.region = region or provider.region
        self.url = url
        """Base URL in place of the provider's own; `None`: the provider's."""
        self.label = intern(f"{provider.name}/{model}")
        self.header_lines = f"x-stockyard-provider: {provider.name}\r\nx-stockyard-model: {model}\r\n".encode()
        """How an answer says who served it."""
        self.known_model: tuple[Catalogue, Model | None] | None = None
        self.known_price: tuple[PriceTable, Price | None] | None = None
        """What the catalogue and the price table found for it when they were last asked."""

    def __repr__(self) -> str:
        return f"Target({self.label!r})"
