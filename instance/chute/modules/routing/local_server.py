"""The local model server: whether it answers, and which models it has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.provider import Provider
from instance.chute.provider_spec import ProviderSpec
from instance.chute.upstream import UpstreamError
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.upstream import Upstream

NAME = "localsync"
"""The provider's name in traces and headers."""
PROBE_TIMEOUT_S = 2.0
LIST_MAX_BYTES = 4 << 20
MODELS_MAX = 5000


class LocalServer:
    """A server at `endpoint`: Ollama (`/api/tags`), or whatever is OpenAI-compatible (`/v1/models`)."""

    def __init__(self, endpoint: str, upstream: Upstream) -> None:
        self.endpoint = endpoint
        base = endpoint.rstrip("/").removesuffix("/v1")
        self._ollama = Provider(ProviderSpec(NAME, type="ollama", base_url=base, auth="none"), upstream)
        self._openai = Provider(ProviderSpec(NAME, type="openai", base_url=f"{base}/v1", auth="none"), upstream)
        self.provider = self._ollama
        """What calls go to: the dialect in which the last probe was answered."""
        self.models: frozenset[str] = frozenset()
        self.answers = False
        self.inflight = 0
        self.last_error = "not asked yet"

    def has(self, model: str) -> bool:
        """Whether the model was in the last list; a name without a tag stands for `latest`."""
        return model in self.models or (":" not in model and f"{model}:latest" in self.models)

    def owns(self, provider: Provider) -> bool:
        """Whether a target's provider is this server."""
        return provider is self._ollama or provider is self._openai

    def failed(self, reason: str) -> None:
        """A call could not reach it: it is left alone until the next probe."""
        self.answers = False
        self.last_error = reason

    async def probe(self) -> None:
        """Ask for its models; never raises for what the server does."""
        for provider, path, name in ((self._ollama, b"/api/tags", "models"), (self._openai, b"/models", "data")):
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    rows = await _list(provider, path, name)
            except (UpstreamError, StockyardError) as error:
                self.failed(error.message)
                return
            except TimeoutError:
                self.failed(f"no list of models within {PROBE_TIMEOUT_S:g} s")
                return
            if rows is not None:
                self.models = frozenset(rows)
                self.provider = provider
                self.answers = True
                self.last_error = ""
                return
        self.failed("it lists no models, neither at /api/tags nor at /v1/models")


async def _list(provider: Provider, path: bytes, name: str) -> list[str] | None:
    """The names that a list has; `None` when there is no such list. Raises `UpstreamError`."""
    response = await provider.get(path, connect_timeout_s=PROBE_TIMEOUT_S)
    try:
        body = await response.read(LIST_MAX_BYTES)
    finally:
        response.close()
    if response.status != 200:
        return None
    try:
        rows: Any = orjson.loads(body)[name]
        return [str(row.get("name") or row["id"]) for row in rows[:MODELS_MAX]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
