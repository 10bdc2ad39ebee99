"""Every setting of an instance: its name, unit, bounds and default. The only way in; nothing else reads configuration.

Defaults are overridden by `stockyard.toml`, that by what the API stored, that by the environment
(`STOCKYARD_SECTION__NAME`), that by flags. `settings_sources` merges them.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

MIB = 1 << 20


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


TextList = Annotated[list[str], BeforeValidator(_listed)]
"""A list of strings; the environment writes it with commas."""


class Section(BaseModel):
    """Base of every section: unknown names are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class ServerSettings(Section):
    """Where the instance listens and whom it believes."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=4200, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    uds: str = Field(default="", max_length=107, description="Path of a Unix socket to listen on instead of a port.")
    trusted_proxies: TextList = Field(
        default=[],
        description="Addresses or networks whose X-Forwarded-For is believed; a Unix socket's peer always is.",
    )
    cors_origins: TextList = Field(default=[], description="Origins whose pages may call this instance.")
    shutdown_s: float = Field(default=10.0, ge=0, le=600, description="Seconds that running calls get to finish.")


class LimitSettings(Section):
    """What one request may be, and how many at once."""

    body_bytes: int = Field(default=10 * MIB, ge=1024, le=1024 * MIB, description="Largest JSON body on /v1, in bytes.")
    multipart_bytes: int = Field(
        default=32 * MIB, ge=1024, le=1024 * MIB, description="Largest multipart body on /v1 (audio, images), in bytes."
    )
    messages: int = Field(default=4096, ge=1, le=1_000_000, description="Most messages of one call.")
    tools: int = Field(default=512, ge=1, le=100_000, description="Most tools of one call.")
    depth: int = Field(default=64, ge=8, le=512, description="Deepest nesting of a JSON body.")
    max_concurrent: int = Field(default=1024, ge=1, le=100_000, description="Calls in flight; more are answered 503.")


class ProviderSettings(Section):
    """One provider of models."""

    base_url: str = Field(default="", description="Address of its API, for example http://127.0.0.1:11434/v1.")
    type: str = Field(default="", description="Dialect that it speaks; OpenAI's when empty.")
    auth: Literal["", "bearer", "header", "none", "shim"] = Field(default="", description="How its key is sent.")
    api_key: SecretStr = Field(default=SecretStr(""), description="Its key.")
    models: TextList = Field(default=[], description="Models that it serves, when they are not asked of it.")
    region: str = Field(default="", description="Where it computes.")
    priority: int = Field(default=100, ge=0, le=10_000, description="Lower is preferred.")
    timeout_s: float | None = Field(default=None, gt=0, le=86_400, description="Seconds a whole call to it may take.")
    headers: dict[str, str] = Field(default={}, description="Headers added to each call to it.")


class EmbedderSettings(Section):
    """The bundled model that compares meanings for semanticcache, contextpack, guardrail and other modules. What waits for it too long,
    or finds too much waiting, does without: a cache misses, a judge goes by its rules, and the trail says so."""

    wait_s: float = Field(
        default=10.0,
        gt=0,
        le=60,
        description="Seconds that a call waits for it at most in all, queue and work; one that takes longer by itself, as a stream may, "
        "for as long again as it takes without it.",
    )
    queue_max: int = Field(
        default=256, ge=1, le=10_000, description="Most of what calls ask of it that waits; more goes without at once."
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Threads that it reads on; 0: one less than the processors for this process, 1 to 4.",
    )


UsdPerMillion = Annotated[Decimal, Field(ge=0, le=1_000_000)]
UsdPerUnit = Annotated[Decimal, Field(ge=0, le=1_000_000)]


class RouteTargetSettings(Section):
    """One target of a route."""

    target: str = Field(
        min_length=3,
        max_length=300,
        pattern="^[^/]+/.+$",
        description="provider/model, or provider/* for the asked model.",
    )
    weight: int = Field(default=1, ge=0, le=1_000_000, description="Its share; 0: nothing new goes to it.")
    region: str = Field(default="", max_length=100, description="Where it computes; empty: as its provider says.")


class RouteSettings(Section):
    """Which targets serve the models that a pattern fits."""

    pattern: str = Field(min_length=1, max_length=256, description="Glob of the asked model.")
    targets: list[RouteTargetSettings] = Field(min_length=1, max_length=100, description="Where such calls go.")
    fallback: TextList = Field(default=[], max_length=20, description="Targets to try after those, by fallbackrouter.")
    sticky: bool = Field(default=False, description="A session stays at its target, by stickysession.")
    hedge_after_ms: int = Field(
        default=0,
        ge=0,
        le=600_000,
        description="Ask a second target too when the first has not begun to answer by then, by fallbackrouter; 0: never.",
    )
    path: str = Field(default="*", min_length=1, max_length=200, description="Glob of the request's path.")
    priority: int = Field(default=100, ge=0, le=1_000_000, description="The lowest that fits is taken.")
    enabled: bool = Field(default=True, description="Whether it is used.")


class AliasSettings(Section):
    """An own name for a model."""

    target: str = Field(
        min_length=1,
        max_length=300,
        description="provider/model or another alias; $1 is what the alias's first * stood for.",
    )
    teams: TextList = Field(default=[], description="Globs of the teams it is for; empty: all.")
    keys: TextList = Field(default=[], description="Ids or names of the keys it is for; empty: all.")
    params: dict[str, Any] = Field(default={}, max_length=50, description="Parameters for calls that do not set them.")
    system_prefix: str = Field(default="", max_length=100_000, description="Put before the system message.")
    until: AwareDatetime | None = Field(default=None, description="When the name ends; callers are warned before.")
    successor: str = Field(default="", max_length=256, description="The name that is used after `until`.")


class PriceSettings(Section):
    """Prices of one model in US dollars. A price that is absent is as that of plain input or output tokens, or is not charged."""

    in_usd_per_mtok: UsdPerMillion = Field(default=Decimal(0), description="10^6 input tokens.")
    out_usd_per_mtok: UsdPerMillion = Field(default=Decimal(0), description="10^6 output tokens.")
    cached_in_usd_per_mtok: UsdPerMillion | None = Field(
        default=None, description="10^6 input tokens read from the provider's cache; as input when absent."
    )
    cache_write_usd_per_mtok: UsdPerMillion | None = Field(
        default=None, description="10^6 input tokens written into the provider's cache."
    )
    cache_write_1h_usd_per_mtok: UsdPerMillion | None = Field(
        default=None, description="The same, kept for an hour; as any cache write when absent."
    )
    reasoning_usd_per_mtok: UsdPerMillion | None = Field(default=None, description="10^6 reasoning tokens.")
    audio_in_usd_per_mtok: UsdPerMillion | None = Field(default=None, description="10^6 input tokens of audio.")
    audio_out_usd_per_mtok: UsdPerMillion | None = Field(default=None, description="10^6 output tokens of audio.")
    image_in_usd_per_mtok: UsdPerMillion | None = Field(default=None, description="10^6 input tokens of images.")
    image_out_usd_per_mtok: UsdPerMillion | None = Field(default=None, description="10^6 output tokens of images.")
    per_million_characters_usd: UsdPerMillion | None = Field(default=None, description="10^6 characters made speech.")
    per_image_usd: UsdPerUnit | None = Field(default=None, description="One image.")
    per_audio_minute_usd: UsdPerUnit | None = Field(default=None, description="One minute of audio.")
    per_request_usd: UsdPerUnit | None = Field(default=None, description="One request, or one search unit of a rerank.")
    per_search_usd: UsdPerUnit | None = Field(default=None, description="One search of the web by the model.")


class ResponseSettings(Section):
    """What `/v1/responses` keeps, so that a conversation goes on by `previous_response_id`."""

    retention_days: int = Field(
        default=30,
        ge=0,
        le=365,
        description="Days that a response is kept, encrypted, after the conversation's last turn; 0 keeps none, as if every "
        "request said `store: false`.",
    )


class Settings(Section):
    """The effective settings of one instance."""

    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    providers: dict[str, ProviderSettings] = Field(default={}, description="Providers by name.")
    prices: dict[str, PriceSettings] = Field(default={}, description='Own prices by "provider/model".')
    routes: list[RouteSettings] = Field(
        default=[],
        max_length=1000,
        description="Routes, beside those that the API stored; of equal priority those win.",
    )
    aliases: dict[str, AliasSettings] = Field(
        default={}, max_length=1000, description="Own names for models; where the API stored one, that wins."
    )
    responses: ResponseSettings = ResponseSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    modules: dict[str, dict[str, Any]] = Field(
        default={},
        description="Modules by name: `enabled` and their own settings; where the API changed one, that wins.",
    )
    client_ip: Literal["full", "truncated", "off"] = Field(
        default="full", description="How much of a caller's address is kept: truncated cuts to /24 and /48."
    )
    max_database_bytes: int = Field(
        default=0, ge=0, description="Largest database in bytes; above it calls are refused with 503. 0: no limit."
    )
    record_timings: bool = Field(default=False, description="Keep each module's time with each trace.")
    public_docs: bool = Field(default=True, description="Show the API's description without a key.")
    publish_head: bool = Field(default=False, description="Show the ledger's head without a key.")
    metrics_public: bool = Field(default=False, description="Show /metrics without a key.")
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="The log as text or as JSON lines. auto: text on a terminal, else JSON lines."
    )

    @classmethod
    def load(
        cls,
        data_dir: Path,
        *,
        toml_path: Path | None = None,
        env: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
        api_values: Mapping[str, Any] | None = None,
    ) -> tuple[Settings, dict[str, str]]:
        """The settings, and for each path that is not a default where it came from (file, api, env, flag).

        `flags` and `api_values` are by path (`server.port`). Raises `SettingsError` naming every bad field, with the
        nearest valid name for one that does not exist.
        """
        from instance.core.settings_sources import load_settings

        return load_settings(
            data_dir, toml_path=toml_path, env=env or {}, flags=flags or {}, api_values=api_values or {}
        )
