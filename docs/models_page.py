"""The reference page of the bundled models and their prices, from `instance/chute/data/models/`."""

from __future__ import annotations

from docs.schema_table import cell, markdown
from instance.chute.catalogue import Catalogue, Model, bundled_providers_with_models
from instance.chute.price import Price

INTRO = """# Models and prices

What Stockyard knows of {count} models before it calls them: `GET /v1/models` shows it, paramnorm fits requests to it, budgets
reckon with it. A model that is not here can be called all the same; its cost is then unknown (`null`), never 0. Prices are US
dollars for 10^6 tokens unless another unit is named; *long* is the price of calls whose prompts are longer than that. Batch,
priority and regional prices are not in these figures, and prices change: set your own under `[prices]` in `stockyard.toml`, which
wins over this table. The figures are those of the providers' own pages as the packages litellm 1.110.2 and genai-prices 0.2.3 had
gathered them; where these two did not agree there is no price here.

```toml
[prices."openai/gpt-4o"]
in_usd_per_mtok = 2.50
out_usd_per_mtok = 10.00
```
"""
UNITS = {
    "cached_input": "cached",
    "cache_write": "cache write",
    "cache_write_1h": "cache write 1 h",
    "reasoning": "reasoning",
    "audio_input": "audio in",
    "audio_output": "audio out",
    "image_input": "image in",
    "image_output": "image out",
    "characters": "10^6 characters",
}
PIECES = {"image": "image", "audio_hour": "hour of audio", "request": "request", "search": "search"}


def models_page() -> str:
    """The page's text."""
    catalogue = Catalogue()
    providers = [name for name in bundled_providers_with_models() if name != "mock"]
    count = sum(len(list(catalogue.models(name))) for name in providers)
    text = INTRO.format(count=count)
    for provider in providers:
        models = list(catalogue.models(provider))
        dates = sorted({model.as_of for model in models})
        text += f"\n## {provider}\n\nFigures of {dates[-1]}"
        text += f" (some of {', '.join(dates[:-1])})" if len(dates) > 1 else ""
        text += f", published at <{models[0].source}>.\n\n"
        text += markdown(
            ["model", "can", "context", "output", "in", "out", "other prices"], [_row(model) for model in models]
        )
    return text


def _row(model: Model) -> list[str]:
    price = model.price
    return [
        f"`{cell(model.name)}`",
        ", ".join(model.capabilities),
        _count(model.context_tokens),
        _count(model.output_tokens),
        _tokens(price, "input"),
        _tokens(price, "output"),
        _others(price),
    ]


def _count(tokens: int | None) -> str:
    return "" if tokens is None else f"{tokens:,}"


def _tokens(price: Price | None, name: str) -> str:
    value = getattr(price, name) if price is not None else None
    return _dollars(value / 1e6) if value else ""


def _others(price: Price | None) -> str:
    if price is None:
        return "unknown"
    parts = [
        f"{word} {_dollars(value / 1e6)}" for name, word in UNITS.items() if (value := getattr(price, name)) is not None
    ]
    parts += [f"{_dollars(value / 1e9)} per {word}" for name, word in PIECES.items() if (value := getattr(price, name))]
    if price.above is not None:
        long = price.above
        parts.append(f"long (> {price.above_tokens:,}) {_dollars(long.input / 1e6)} / {_dollars(long.output / 1e6)}")
    return ", ".join(parts)


def _dollars(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
