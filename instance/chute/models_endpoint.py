"""`GET /v1/models`: what a key may call, built from the providers' lists. Never waits for a provider."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.prices import PriceTable
    from instance.chute.provider import Provider
    from instance.chute.providers import ProviderTable
    from instance.core.principals import Principal

CREATED_UNKNOWN = 0


def models_list(principal: Principal, table: ProviderTable, prices: PriceTable) -> dict[str, Any]:
    """The body of `GET /v1/models`: models of usable providers that the key's globs allow, as `provider/model`."""
    if table.model_lists is not None:
        table.model_lists.refresh_stale()
    data = [
        _model(provider, model, prices)
        for provider, model in _offered(table, prices)
        if _allowed(principal, f"{provider.name}/{model}", model)
    ]
    return {"object": "list", "data": data}


def model_one(principal: Principal, table: ProviderTable, prices: PriceTable, model: str) -> dict[str, Any]:
    """The body of `GET /v1/models/{model}`; `model` may be bare or `provider/model`. Raises `model_not_found`."""
    missing = StockyardError("model_not_found", f"This key has no model {model!r}; GET /v1/models lists them.")
    try:
        target = table.resolve(model)[0]
    except StockyardError as error:
        raise missing from error
    if not _allowed(principal, target.label, target.model) or (target.provider, target.model) not in set(
        _offered(table, prices)
    ):
        raise missing
    return _model(target.provider, target.model, prices)


def _offered(table: ProviderTable, prices: PriceTable) -> Iterator[tuple[Provider, str]]:
    """What each usable provider is known to have: its configured list, else its own, else the models with a price."""
    priced: dict[str, list[str]] = {}
    for name, model, _ in prices.rows():
        priced.setdefault(name, []).append(model)
    for provider in table.usable():
        models = provider.spec.models or provider.listed or priced.get(provider.name, ())
        for model in sorted(set(models)):
            yield provider, model


def _allowed(principal: Principal, label: str, model: str) -> bool:
    globs = principal.models
    return not globs or any(fnmatchcase(label, glob) or fnmatchcase(model, glob) for glob in globs)


def _model(provider: Provider, model: str, prices: PriceTable) -> dict[str, Any]:
    price = prices.lookup(provider.name, model)
    return {
        "id": f"{provider.name}/{model}",
        "object": "model",
        "created": CREATED_UNKNOWN,
        "owned_by": provider.name,
        "stockyard": {
            "provider": provider.name,
            "aliases": [],
            "context_tokens": None,
            "price_in_usd_per_mtok": price.input / 1e6 if price else None,
            "price_out_usd_per_mtok": price.output / 1e6 if price else None,
            "capabilities": ["embeddings"] if "embed" in model else ["chat"],
            "healthy": provider.status == "active",
        },
    }
