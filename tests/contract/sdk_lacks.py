"""What a provider has nothing of, and what its caller gets instead: an error by its code, or an answer without a field that the
trail names as dropped."""

from __future__ import annotations

from dataclasses import dataclass

from tests.contract.sdk_providers import PROVIDERS, PlayedProvider


@dataclass(frozen=True, slots=True)
class Refused:
    """The call is refused with this code."""

    code: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The call is answered, without this field of the request."""

    field: str


Lack = Refused | Dropped

KINDS = {
    "openai: embeddings": "embeddings",
    "openai: speech": "speech",
    "openai: transcription": "transcription",
    "openai: images": "image",
    "openai: moderations": "moderation",
}
"""Examples that need a model of a kind; a provider that names none has nothing of it."""

TOOLS = (
    "openai: tools, round trip",
    "openai: tools, streamed",
    "openai: responses, tools",
    "anthropic: tools, round trip",
)

OTHERS: dict[str, dict[str, Lack]] = {
    "deepseek": dict.fromkeys(("openai: vision", "anthropic: vision"), Refused("unsupported_parameter")),
    "replicate": dict.fromkeys(TOOLS, Refused("unsupported_parameter")),
    "perplexity": dict.fromkeys(TOOLS, Dropped("tools")),
}


def lacks(provider: PlayedProvider) -> dict[str, Lack]:
    """What this provider has nothing of, by example."""
    found: dict[str, Lack] = {
        name: Refused("not_supported") for name, kind in KINDS.items() if not getattr(provider, kind)
    }
    return found | OTHERS.get(provider.name, {})


BY_NAME = {provider.name: provider for provider in PROVIDERS}
