"""What is known of models before they are called: limits, abilities, parameters and prices.

The bundled knowledge lies in `data/models/<provider>.toml`, one file a provider, read when it is first asked for. Prices
there are US dollars: per 10^6 tokens or characters, per image, per hour of audio, per request and search.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from instance.chute.price import FREE, Price, price_in_usd

if TYPE_CHECKING:
    from instance.chute.targets import Target

KNOWN_MAX = 4096
CAPABILITIES = (
    "chat",
    "embeddings",
    "image",
    "audio",
    "moderation",
    "rerank",
    "vision",
    "tools",
    "json_schema",
    "reasoning",
    "audio_input",
    "audio_output",
    "pdf",
    "prompt_caching",
)
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Model:
    """One model of one provider."""

    provider: str
    name: str
    capabilities: tuple[str, ...] = ("chat",)
    """Of `CAPABILITIES`; the first says what kind of calls it serves."""
    context_tokens: int | None = None
    """The longest prompt; `None`: not known."""
    output_tokens: int | None = None
    """The longest answer; `None`: not known, or whatever the prompt leaves of the context."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Request parameters that it treats in a way of its own: `False` for one that it refuses, the list of allowed values
    (`reasoning_effort`); a parameter that is not here is taken as usual."""
    aliases: tuple[str, ...] = ()
    """Other names that the provider gives the same model."""
    price: Price | None = None
    """`None`: not known, which is not the same as nothing."""
    source: str = ""
    """Where the figures are published."""
    as_of: str = ""
    """Year and month of the figures."""

    def can(self, capability: str) -> bool:
        """Whether it is known to have that ability."""
        return capability in self.capabilities


_MOCK = {
    name: Model("mock", name, capabilities, 1_000_000, 100_000, price=FREE)
    for name, capabilities in (
        ("gpt", ("chat", "tools")),
        ("small", ("chat", "tools")),
        ("large", ("chat", "tools")),
        ("embedding", ("embeddings",)),
        ("image", ("image",)),
        ("speech", ("audio",)),
        ("transcription", ("audio",)),
        ("moderation", ("moderation",)),
        ("rerank", ("rerank",)),
    )
}


@cache
def bundled_providers_with_models() -> tuple[str, ...]:
    """Names of the providers that have a file of models, and the built-in one."""
    folder = resources.files("instance.chute") / "data" / "models"
    return tuple(sorted([entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")] + ["mock"]))


@cache
def bundled_models(provider: str) -> Mapping[str, Model]:
    """The bundled models of a provider by name, aliases among them; empty for a provider without a file."""
    if provider == "mock":
        return _MOCK
    if provider not in bundled_providers_with_models():
        return _NOTHING
    text = (resources.files("instance.chute") / "data" / "models" / f"{provider}.toml").read_text("utf-8")
    data = tomllib.loads(text, parse_float=Decimal)
    models: dict[str, Model] = {}
    for name, row in data["models"].items():
        model = _model(provider, name, row, data)
        for known in (name, *model.aliases):
            models[known] = model
    return models


def _model(provider: str, name: str, row: Mapping[str, Any], data: Mapping[str, Any]) -> Model:
    as_of = str(row.get("as_of", data["as_of"]))
    usd = row.get("usd")
    return Model(
        provider,
        name,
        tuple(row["can"]),
        row.get("context"),
        row.get("output"),
        MappingProxyType(row.get("parameters", {})),
        tuple(row.get("aliases", ())),
        None if usd is None else price_in_usd(usd, "bundled", as_of),
        data["source"],
        as_of,
    )


class Catalogue:
    """Finds models by the provider's name, or by the dialect it speaks where it has a name of its own."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], Model | None] = {}

    def of(self, target: Target) -> Model | None:
        """The target's model."""
        known = target.known_model
        if known is None or known[0] is not self:
            provider = target.provider
            known = target.known_model = self, self.find(provider.name, target.model, provider.dialect)
        return known[1]

    def find(self, provider: str, model: str, dialect: str = "") -> Model | None:
        """What is known of a model; `None` when it is not known.

        A dated snapshot (`gpt-4o-2024-08-06`, `claude-haiku-4-5-20251001`) that has no row of its own is what its undated
        name is. A provider `claude-eu` of the type `anthropic` has Anthropic's models.
        """
        key = (provider, model, dialect)
        known = self._known
        if key in known:
            return known[key]
        if len(known) >= KNOWN_MAX:
            known.clear()
        found = known[key] = _find(provider, model, dialect)
        return found

    def models(self, provider: str, dialect: str = "") -> Iterator[Model]:
        """Every model of a provider that is known, by name; aliases are not repeated."""
        models = bundled_models(provider) or (bundled_models(dialect) if _tells(dialect) else _NOTHING)
        for name in sorted(models):
            if models[name].name == name:
                yield models[name]


def _find(provider: str, model: str, dialect: str) -> Model | None:
    models = bundled_models(provider)
    if not models and _tells(dialect):
        models = bundled_models(dialect)
    name = model.removeprefix("models/")
    found = models.get(name)
    return found if found is not None else models.get(_SNAPSHOT.sub("", name))


def _tells(dialect: str) -> bool:
    """Whether a provider's dialect says whose models it serves: OpenAI's is spoken by everybody."""
    return dialect not in ("", "openai")
