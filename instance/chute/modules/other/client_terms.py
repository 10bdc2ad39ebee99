"""What one client may use: its models, providers and keys, and what it has used of its limits in the running window."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from instance.chute.module_secrets import SecretText
from instance.chute.provider_key import ProviderKey
from instance.core.money import usd_to_nano
from instance.core.principals import CLIENT_NAME

if TYPE_CHECKING:
    from instance.chute.targets import Target

JUDGED_MAX = 1000
"""Targets whose permission a client's terms remember."""


class Limits(BaseModel):
    """What a client may use, where it has no terms of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_requests: int = Field(default=1000, ge=0, le=10**9, description="Requests in a window; 0: no limit.")
    max_tokens: int = Field(default=0, ge=0, le=10**12, description="Tokens in a window, in and out; 0: no limit.")
    max_spend_usd: float = Field(default=10.0, ge=0, le=10**9, description="US dollars in a window; 0: no limit.")
    concurrency: int = Field(default=20, ge=0, le=100_000, description="Calls at once; 0: no limit.")
    models: list[str] = Field(
        default=["*"], max_length=1000, description="Globs of the models that serve it, bare or as provider/model."
    )
    providers: list[str] = Field(default=["*"], max_length=100, description="Globs of the providers that serve it.")
    retention_days: int = Field(
        default=0, ge=0, le=3650, description="Days for which its traces are kept, if sooner than all; 0: as all."
    )


class OwnKey(BaseModel):
    """A client's own key at a provider."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str = Field(min_length=1, max_length=128, description="Name of the provider, as it is configured here.")
    api_key: SecretText = Field(description="Used for the client's calls in place of every other key.")


class Client(BaseModel):
    """One client. What is unset is as in `default`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=f"^{CLIENT_NAME.pattern}$", description="Its name, as keys and requests give it.")
    max_requests: int | None = Field(default=None, ge=0, le=10**9, description="Requests in a window; 0: no limit.")
    max_tokens: int | None = Field(default=None, ge=0, le=10**12, description="Tokens in a window; 0: no limit.")
    max_spend_usd: float | None = Field(
        default=None, ge=0, le=10**9, description="US dollars in a window; 0: no limit."
    )
    concurrency: int | None = Field(default=None, ge=0, le=100_000, description="Calls at once; 0: no limit.")
    models: list[str] | None = Field(default=None, max_length=1000, description="Globs of the models that serve it.")
    providers: list[str] | None = Field(
        default=None, max_length=100, description="Globs of the providers that serve it."
    )
    retention_days: int | None = Field(default=None, ge=0, le=3650, description="Days for which its traces are kept.")
    provider_keys: list[OwnKey] = Field(default=[], max_length=100, description="Its own keys at providers.")
    overrides: dict[str, dict[str, Any]] = Field(
        default={},
        max_length=50,
        description="Module -> settings that hold for its calls, over everybody's; the module must be on.",
    )

    def limits(self, default: Limits) -> Limits:
        """Its limits, those of `default` where it has none."""
        own = {name: value for name in Limits.model_fields if (value := getattr(self, name)) is not None}
        return default.model_copy(update=own)


class Used:
    """What a client has used in the window that began at `start_ns`, and how many of its calls run."""

    __slots__ = ("requests", "running", "spend_nano", "start_ns", "tokens")

    def __init__(self, start_ns: int) -> None:
        self.running = 0
        self.begin(start_ns)

    def begin(self, start_ns: int) -> None:
        """A window begins; calls that run go on."""
        self.start_ns = start_ns
        self.requests = self.tokens = self.spend_nano = 0


class Terms:
    """A client's limits compiled: what is asked of them on every call."""

    __slots__ = ("_judged", "_models", "_providers", "bounded", "keys", "limits", "spend_nano")

    def __init__(self, limits: Limits, keys: Sequence[OwnKey] = ()) -> None:
        self.limits = limits
        self.spend_nano = usd_to_nano(limits.max_spend_usd)
        self._models = _globs(limits.models)
        self._providers = _globs(limits.providers)
        self.bounded = self._models is not None or self._providers is not None
        """Whether there is a target that the client may not use."""
        self._judged: dict[tuple[str, str], bool] = {}
        self.keys: Mapping[str, ProviderKey] | None = None
        """The client's own keys by provider."""
        if keys:
            self.keys = {
                row.provider: ProviderKey("client", row.api_key.get_secret_value())
                for row in keys
                if row.api_key.get_secret_value()
            }

    def allows(self, target: Target) -> bool:
        """Whether the target may serve the client."""
        asked = (target.provider.name, target.model)
        known = self._judged.get(asked)
        if known is None:
            if len(self._judged) >= JUDGED_MAX:
                self._judged.clear()
            known = self._judged[asked] = self._allows(*asked)
        return known

    def _allows(self, provider: str, model: str) -> bool:
        models, providers = self._models, self._providers
        if providers is not None and not providers.match(provider):
            return False
        return models is None or bool(models.match(f"{provider}/{model}") or models.match(model))

    def over(self, used: Used) -> str:
        """Which limit is used up; empty for none."""
        limits = self.limits
        if limits.max_requests and used.requests >= limits.max_requests:
            return "requests"
        return self.over_budget(used)

    def over_budget(self, used: Used) -> str:
        """The same of what a call uses beyond being made."""
        if self.spend_nano and used.spend_nano >= self.spend_nano:
            return "spend"
        return "tokens" if self.limits.max_tokens and used.tokens >= self.limits.max_tokens else ""


def _globs(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """One expression for all of them; `None` where everything fits."""
    return None if "*" in patterns else re.compile("|".join(map(translate, patterns)) or r"(?!)")
