"""The dialects that a provider can speak: how each takes its key, where it is OpenAI-compatible, and where it lists its models."""

from __future__ import annotations

from dataclasses import dataclass

OPENAI_ROWS = "data"
DEFAULT_SPEAKS = (
    "openai.chat",
    "openai.completions",
    "openai.embeddings",
    "openai.images",
    "openai.audio",
    "openai.moderations",
    "cohere.rerank",
)
CHAT_ONLY = ("openai.chat",)


@dataclass(frozen=True, slots=True)
class ProviderDialect:
    """What holds for every provider of one `type` unless its own row says otherwise."""

    auth: str = "bearer"
    auth_header: str = "api-key"
    """The header of `auth = "header"`."""
    openai_path: str | None = ""
    """Where, below its base URL, it is OpenAI-compatible; `None`: nowhere."""
    openai_auth: str = ""
    """How the key is sent there; empty: as everywhere."""
    tails: tuple[str, ...] = ()
    """Ends of a base URL that name a version or the OpenAI-compatible part; they are cut off, the shim writes whole paths."""
    models_path: str = ""
    """Where it lists its models in its own way; empty: at `/models` of its OpenAI-compatible part."""
    models_rows: str = OPENAI_ROWS
    """The field of that list which holds the rows."""
    headers: tuple[tuple[str, str], ...] = ()
    """What its own list of models must be asked with."""
    speaks: tuple[str, ...] = DEFAULT_SPEAKS
    """Dialects of `/v1` that its OpenAI-compatible part takes as they are."""
    stream_usage: bool = True
    """Whether it takes `stream_options: {include_usage}`."""


PROVIDER_DIALECTS: dict[str, ProviderDialect] = {
    "openai": ProviderDialect(),
    "anthropic": ProviderDialect(
        auth="header",
        auth_header="x-api-key",
        openai_path="/v1",
        openai_auth="bearer",
        tails=("/v1",),
        models_path="/v1/models?limit=1000",
        headers=(("anthropic-version", "2023-06-01"),),
        speaks=CHAT_ONLY,
    ),
    "gemini": ProviderDialect(
        auth="header",
        auth_header="x-goog-api-key",
        openai_path="/openai",
        openai_auth="bearer",
        tails=("/openai",),
        models_path="/models?pageSize=1000",
        models_rows="models",
        speaks=("openai.chat", "openai.embeddings", "openai.images"),
    ),
    "bedrock": ProviderDialect(
        auth="shim", openai_path="/openai/v1", openai_auth="bearer", tails=("/openai/v1",), speaks=CHAT_ONLY
    ),
    "azure": ProviderDialect(
        auth="header",
        auth_header="api-key",
        openai_path="/openai/v1",
        tails=("/openai/v1", "/openai"),
        speaks=(
            "openai.chat",
            "openai.completions",
            "openai.embeddings",
            "openai.images",
            "openai.audio",
            "openai.responses",
        ),
    ),
    "cohere": ProviderDialect(
        openai_path="/compatibility/v1",
        tails=("/compatibility/v1", "/v2", "/v1"),
        models_path="/v1/models?page_size=1000",
        models_rows="models",
        speaks=("openai.chat", "openai.embeddings"),
    ),
    "mistral": ProviderDialect(
        speaks=("openai.chat", "openai.embeddings", "openai.moderations", "openai.audio"), stream_usage=False
    ),
    "ollama": ProviderDialect(
        auth="none",
        openai_path="/v1",
        tails=("/v1", "/api"),
        models_path="/api/tags",
        models_rows="models",
        speaks=("openai.chat", "openai.completions", "openai.embeddings"),
    ),
    "groq": ProviderDialect(speaks=("openai.chat", "openai.audio")),
    "together": ProviderDialect(
        speaks=(
            "openai.chat",
            "openai.completions",
            "openai.embeddings",
            "openai.images",
            "openai.audio",
            "cohere.rerank",
        )
    ),
    "deepseek": ProviderDialect(speaks=CHAT_ONLY),
    "fireworks": ProviderDialect(speaks=("openai.chat", "openai.completions", "openai.embeddings", "cohere.rerank")),
    "replicate": ProviderDialect(openai_path=None, models_path="/models", models_rows="results"),
    "perplexity": ProviderDialect(speaks=CHAT_ONLY, stream_usage=False),
}


def native_base_url(kind: str, base_url: str) -> str:
    """The base URL that a shim's paths are appended to."""
    base_url = base_url.rstrip("/")
    for tail in PROVIDER_DIALECTS[kind].tails:
        if base_url.endswith(tail):
            return base_url.removesuffix(tail)
    return base_url


def openai_base_url(kind: str, base_url: str) -> str:
    """Where a provider of that type at that base URL is OpenAI-compatible; empty when it is not."""
    path = PROVIDER_DIALECTS[kind].openai_path
    return "" if path is None or not base_url else native_base_url(kind, base_url) + path
