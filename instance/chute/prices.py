"""What models cost: integer micro-dollars per million tokens, from the bundled table and the instance's own.

A model that is in neither table has no price: `None`, never zero, so that a cost that is not known is not shown as
nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Protocol

from instance.core.money import line_cost_nano, usd_to_micro
from instance.core.settings import PriceSettings

KNOWN_MAX = 4096
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


class TokenUsage(Protocol):
    """Tokens of one call; `cached` is the part of `input` that the provider read from its cache."""

    @property
    def input(self) -> int: ...
    @property
    def output(self) -> int: ...
    @property
    def cached(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars per 10^6 tokens; `cached_input` None means that cached tokens cost what others do."""

    input: int
    output: int
    cached_input: int | None = None
    source: str = "bundled"
    as_of: str = ""


FREE = Price(0, 0, 0)


def cost_lines(price: Price, usage: TokenUsage) -> list[tuple[str, int]]:
    """The cost of a call as lines `(what, nano-dollars)`: input, cached, output; lines without tokens are left out.

    Each line is rounded half up once; the cost of the call is the sum of its lines.
    """
    cached = min(usage.cached, usage.input) if price.cached_input is not None else 0
    lines = []
    if usage.input > cached:
        lines.append(("input", line_cost_nano(usage.input - cached, price.input)))
    if cached:
        lines.append(("cached", line_cost_nano(cached, price.cached_input or 0)))
    if usage.output:
        lines.append(("output", line_cost_nano(usage.output, price.output)))
    return lines


@cache
def bundled_prices() -> dict[tuple[str, str], Price]:
    """The table that comes with the program, by (provider, model)."""
    text = (resources.files("instance.chute") / "data" / "prices.toml").read_text("utf-8")
    data = tomllib.loads(text, parse_float=Decimal)
    table: dict[tuple[str, str], Price] = {}
    for provider, models in data["prices"].items():
        for model, row in models.items():
            cached = row.get("cached_input")
            table[provider, model] = Price(
                usd_to_micro(row["input"]),
                usd_to_micro(row["output"]),
                None if cached is None else usd_to_micro(cached),
                "bundled",
                str(data["as_of"][provider]),
            )
    return table


class PriceTable:
    """The prices in use: the instance's own (`provider/model` -> dollars per million tokens) over the bundled ones."""

    def __init__(self, own: Mapping[str, PriceSettings] | None = None) -> None:
        self._own = {_split(label): _own_price(row) for label, row in (own or {}).items()}
        self._known: dict[tuple[str, str], Price | None] = {}

    def lookup(self, provider: str, model: str) -> Price | None:
        """The price of a model at a provider; None when it is not known.

        A dated snapshot (`gpt-4o-2024-08-06`) that has no row of its own costs what its undated name costs. The mock
        model costs nothing unless the instance sets a price.
        """
        key = (provider, model)
        known = self._known
        if key in known:
            return known[key]
        if len(known) >= KNOWN_MAX:
            known.clear()
        price = known[key] = self._find(provider, model)
        return price

    def _find(self, provider: str, model: str) -> Price | None:
        undated = _SNAPSHOT.sub("", model)
        for table in (self._own, bundled_prices()):
            for name in (model, undated):
                if (provider, name) in table:
                    return table[provider, name]
        return FREE if provider == "mock" else None

    def rows(self) -> Iterator[tuple[str, str, Price]]:
        """Every price in use as (provider, model, price), by name."""
        merged = {**bundled_prices(), **self._own}
        for provider, model in sorted(merged):
            yield provider, model, merged[provider, model]


def _split(label: str) -> tuple[str, str]:
    provider, _, model = label.partition("/")
    if not provider or not model:
        raise ValueError(f"{label!r} is not a provider/model")
    return provider, model


def _own_price(row: PriceSettings) -> Price:
    cached = row.cached_in_usd_per_mtok
    return Price(
        usd_to_micro(row.in_usd_per_mtok),
        usd_to_micro(row.out_usd_per_mtok),
        None if cached is None else usd_to_micro(cached),
        "custom",
    )
