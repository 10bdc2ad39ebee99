"""`GET /v1/models`: what a key may call, built from the providers' lists, routes and aliases. Never waits for a provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from instance.chute.catalogue import CAPABILITIES
from instance.chute.targets import Target
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.prices import PriceTable
    from instance.chute.provider import Provider
    from instance.chute.providers import ProviderTable
    from instance.chute.routes import Route
    from instance.core.principals import Principal

CREATED_UNKNOWN = 0
CREATED_UNKNOWN_TIME = "1970-01-01T00:00:00Z"
PAGE_MAX = 1000
_WILD = frozenset("*?[")
_NAMED_AFTER = (
    ("embed", "embeddings"),
    ("rerank", "rerank"),
    ("moderation", "moderation"),
    ("whisper", "audio"),
    ("transcribe", "audio"),
    ("tts", "audio"),
    ("dall-e", "image"),
    ("image", "image"),
)
"""What a model that is not in the catalogue is taken for, by a word in its name; else for chat."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the models come from. `aliases` are the key's own names with what they stand for; none while modelalias is off."""

    providers: ProviderTable
    prices: PriceTable
    aliases: Sequence[tuple[str, str]] = ()
    routes: Sequence[Route] = ()
    only_aliases: bool = False
    """Nothing else may be asked for."""
    permits: Callable[[Target], bool] | None = None
    """Which targets may serve the key's client; `None`: all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The query of `GET /v1/models`."""

    provider: str = ""
    capability: str = ""
    limit: int = 0
    after: str = ""
    anthropic: bool = False
    """Whether the answer has the shape that Anthropic's API gives it."""

    @classmethod
    def read(cls, query: bytes, headers: Mapping[bytes, bytes]) -> Asked:
        """Raises `bad_request` for an unknown capability or limit; parameters that are not ours pass."""
        given = dict(parse_qsl(query.decode("latin-1")))
        capability = given.get("capability", "")
        if capability and capability not in CAPABILITIES:
            raise StockyardError(
                "bad_request", f"`capability` is one of {', '.join(CAPABILITIES)}.", param="capability"
            )
        limit = given.get("limit", "")
        if limit and not (limit.isdecimal() and 1 <= int(limit[:5]) <= PAGE_MAX):
            raise StockyardError("bad_request", f"`limit` is a whole number from 1 to {PAGE_MAX}.", param="limit")
        after = given.get("after_id") or given.get("after", "")
        return cls(given.get("provider", ""), capability, int(limit or 0), after, b"anthropic-version" in headers)


@dataclass(frozen=True, slots=True)
class _Entry:
    ident: str
    provider: Provider
    model: str
    aliases: list[str] = field(default_factory=list)


def models_list(principal: Principal, sources: Sources, asked: Asked | None = None) -> dict[str, Any]:
    """The body of `GET /v1/models`: as `provider/model` the models of usable providers that the key's globs allow, then
    routes and aliases under their own names."""
    asked = asked or Asked()
    lists = sources.providers.model_lists
    if lists is not None:
        lists.refresh_stale()
    rows = []
    for entry in _entries(principal, sources):
        if asked.provider and entry.provider.name != asked.provider:
            continue
        row = _shown(entry, sources)
        if not asked.capability or asked.capability in row["stockyard"]["capabilities"]:
            rows.append(row)
    return _page(rows, asked)


def model_one(principal: Principal, sources: Sources, model: str, asked: Asked | None = None) -> dict[str, Any]:
    """The body of `GET /v1/models/{model}`; `model` may be bare, `provider/model`, a route's or an alias's name.

    Raises `model_not_found`."""
    entries = {entry.ident: entry for entry in _entries(principal, sources)}
    found = entries.get(model)
    if found is None:
        try:
            target = sources.providers.resolve(model)[0]
        except StockyardError:
            found = None
        else:
            found = entries.get(target.label)
    if found is None:
        raise StockyardError("model_not_found", f"This key has no model {model!r}; GET /v1/models lists them.")
    row = _shown(found, sources)
    return _anthropic(row) if asked is not None and asked.anthropic else row


def _page(rows: list[dict[str, Any]], asked: Asked) -> dict[str, Any]:
    if asked.after:
        places = [place for place, row in enumerate(rows) if row["id"] == asked.after]
        rows = rows[places[0] + 1 :] if places else []
    more = bool(asked.limit) and len(rows) > asked.limit
    if more:
        rows = rows[: asked.limit]
    if not asked.anthropic:
        return {"object": "list", "data": rows} | ({"has_more": more} if asked.limit else {})
    return {
        "data": [_anthropic(row) for row in rows],
        "has_more": more,
        "first_id": rows[0]["id"] if rows else None,
        "last_id": rows[-1]["id"] if rows else None,
    }


def _entries(principal: Principal, sources: Sources) -> Iterator[_Entry]:
    """Everything that the key may name and that may serve it."""
    permits = sources.permits
    for entry in _named_by(principal, sources):
        if permits is None or permits(Target(entry.provider, entry.model)):
            yield entry


def _named_by(principal: Principal, sources: Sources) -> Iterator[_Entry]:
    named = _names(sources)
    if not sources.only_aliases:
        for provider, model in _offered(sources):
            label = f"{provider.name}/{model}"
            if _allowed(principal, label, model):
                yield _Entry(label, provider, model, [name for name, target in named.items() if target.label == label])
    for name, target in named.items():
        if _allowed(principal, name, name):
            yield _Entry(name, target.provider, target.model)


def _names(sources: Sources) -> dict[str, Target]:
    """Routes and aliases without wild cards, with the first target that they stand for."""
    routed = {
        route.pattern: route.targets[0].target.replace("/*", f"/{route.pattern}")
        for route in reversed(sources.routes)
        if route.enabled and not _WILD & set(route.pattern)
    }
    aliased = {name: routed.get(label, label) for name, label in sources.aliases}
    found: dict[str, Target] = {}
    for name, label in (aliased if sources.only_aliases else {**routed, **aliased}).items():
        try:
            found[name] = sources.providers.resolve(label)[0]
        except StockyardError:
            continue
    return found


def _offered(sources: Sources) -> Iterator[tuple[Provider, str]]:
    """What each usable provider is known to have: its configured list, else its own, else what the catalogue knows of it."""
    for provider in sources.providers.usable():
        models: Sequence[str] = provider.spec.models or provider.listed
        if not models:
            known = sources.prices.catalogue.models(provider.name, provider.dialect)
            models = [model.name for model in known] + sources.prices.own(provider.name)
        for model in sorted(set(models)):
            yield provider, model


def _allowed(principal: Principal, label: str, model: str) -> bool:
    globs = principal.models
    return not globs or any(fnmatchcase(label, glob) or fnmatchcase(model, glob) for glob in globs)


def _shown(entry: _Entry, sources: Sources) -> dict[str, Any]:
    provider, model = entry.provider, entry.model
    price = sources.prices.lookup(provider.name, model, provider.dialect)
    known = sources.prices.catalogue.find(provider.name, model, provider.dialect)
    return {
        "id": entry.ident,
        "object": "model",
        "created": CREATED_UNKNOWN,
        "owned_by": provider.name,
        "stockyard": {
            "provider": provider.name,
            "model": model,
            "aliases": entry.aliases,
            "context_tokens": known.context_tokens if known is not None else None,
            "output_tokens": known.output_tokens if known is not None else None,
            "price_in_usd_per_mtok": price.input / 1e6 if price else None,
            "price_out_usd_per_mtok": price.output / 1e6 if price else None,
            "capabilities": list(known.capabilities) if known is not None else [_guessed(model)],
            "healthy": provider.status == "active",
        },
    }


def _guessed(model: str) -> str:
    name = model.lower()
    return next((capability for word, capability in _NAMED_AFTER if word in name), "chat")


def _anthropic(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "model",
        "id": row["id"],
        "display_name": row["id"],
        "created_at": CREATED_UNKNOWN_TIME,
        "stockyard": row["stockyard"],
    }
