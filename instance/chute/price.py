"""The price of one model, in integers: no float ever touches money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from instance.core.money import usd_to_micro, usd_to_nano

MINUTES_PER_HOUR = 60
PER_TOKEN = (
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "audio_input",
    "audio_output",
    "image_input",
    "image_output",
    "characters",
)
PER_UNIT = ("image", "audio_hour", "request", "search")


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs. Micro-dollars per 10^6 tokens (or characters), nano-dollars per image, hour, request and search.

    `None` means that there is no such price: those tokens cost what plain input or output does, and what is counted in
    another unit is not charged for. `above` is the price of a whole call whose prompt has more than `above_tokens`.
    """

    input: int = 0
    output: int = 0
    cached_input: int | None = None
    source: str = "bundled"
    as_of: str = ""
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_output: int | None = None
    characters: int | None = None
    image: int | None = None
    audio_hour: int | None = None
    request: int | None = None
    search: int | None = None
    above_tokens: int = 0
    above: Price | None = None

    @property
    def free(self) -> bool:
        """Whether no call can cost anything."""
        return not any(getattr(self, name) for name in (*PER_TOKEN, *PER_UNIT))

    @property
    def is_approximate(self) -> bool:
        """Whether what the provider reports is nearer to the truth: bundled fees of a request depend on what it did."""
        return self.request is not None and self.source == "bundled"

    @property
    def audio_minute_usd(self) -> float | None:
        """Dollars a minute of audio."""
        return None if self.audio_hour is None else self.audio_hour / MINUTES_PER_HOUR / 1e9


FREE = Price()


def price_in_usd(row: Mapping[str, Any], source: str, as_of: str = "") -> Price:
    """A price written in dollars: per 10^6 tokens or characters (`PER_TOKEN`), per unit (`PER_UNIT`); `above` is a table of
    the same with `tokens`, and leaves what it does not name as it is below. Raises `ValueError` for any other name."""
    prices: dict[str, Any] = {}
    above: Mapping[str, Any] | None = None
    for name, value in row.items():
        if name in PER_TOKEN:
            prices[name] = usd_to_micro(value)
        elif name in PER_UNIT:
            prices[name] = usd_to_nano(value)
        elif name == "above":
            above = value
        else:
            raise ValueError(f"a price has no {name!r}")
    price = Price(**prices, source=source, as_of=as_of)
    if above is None:
        return price
    dearer: dict[str, Any] = {name: usd_to_micro(value) for name, value in above.items() if name != "tokens"}
    return replace(price, above_tokens=int(above["tokens"]), above=replace(price, **dearer))


def per_hour(per_minute_usd: Decimal) -> Decimal:
    """Dollars an hour, exact to the nano-dollar."""
    return (per_minute_usd * MINUTES_PER_HOUR).quantize(Decimal("1e-9"), ROUND_HALF_UP)
