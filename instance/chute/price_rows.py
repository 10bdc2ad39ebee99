"""A price as the API shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from instance.core.money import nano_to_usd

if TYPE_CHECKING:
    from instance.chute.price import Price

MICRO = 1e6


def price_row(provider: str, model: str, price: Price) -> dict[str, Any]:
    """One row of `GET /api/proxy/prices`, in dollars; null where there is no such price. `above` is the price of calls
    whose prompts have more than `above.tokens`."""
    above = price.above
    return {
        "provider": provider,
        "model": model,
        **_figures(price),
        "above": None if above is None else {"tokens": price.above_tokens, **_figures(above)},
        "source": price.source,
        "as_of": price.as_of or None,
    }


def _figures(price: Price) -> dict[str, float | None]:
    return {
        "in_usd_per_mtok": price.input / MICRO,
        "out_usd_per_mtok": price.output / MICRO,
        "cached_in_usd_per_mtok": _micro(price.cached_input),
        "cache_write_usd_per_mtok": _micro(price.cache_write),
        "cache_write_1h_usd_per_mtok": _micro(price.cache_write_1h),
        "reasoning_usd_per_mtok": _micro(price.reasoning),
        "audio_in_usd_per_mtok": _micro(price.audio_input),
        "audio_out_usd_per_mtok": _micro(price.audio_output),
        "image_in_usd_per_mtok": _micro(price.image_input),
        "image_out_usd_per_mtok": _micro(price.image_output),
        "per_million_characters_usd": _micro(price.characters),
        "per_image_usd": _nano(price.image),
        "per_audio_minute_usd": price.audio_minute_usd,
        "per_request_usd": _nano(price.request),
        "per_search_usd": _nano(price.search),
    }


def _micro(value: int | None) -> float | None:
    return None if value is None else value / MICRO


def _nano(value: int | None) -> float | None:
    return None if value is None else nano_to_usd(value)
