"""geminishim: speaks Google's `generateContent` to providers of type `gemini`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import MALFORMED, Attempt, Outbound
from instance.chute.dialects.data_url import Media
from instance.chute.dialects.embedding_vectors import embeddings_answer
from instance.chute.dialects.gemini.answer import read_chat
from instance.chute.dialects.gemini.contents import remote_urls
from instance.chute.dialects.gemini.embeddings import read_embeddings, write_embeddings
from instance.chute.dialects.gemini.request import write_chat
from instance.chute.dialects.gemini.stream import GeminiReader
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import Module, ModuleSettings
from instance.chute.provider_errors import classify, read_provider_error
from instance.chute.remote_media import RemoteMedia
from instance.chute.shim import Shim, ShimSettings, answer_head, say_upstream_id
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.core import Core

FETCHED = "geminishim.fetched"
RELAXED = "geminishim.relaxed"


class GeminiShim(Shim):
    """Chat and embeddings in Gemini's own API.

    Images at addresses are fetched and inlined. A thought's signature travels inside the tool call's id, so that it comes back
    with the client's history, whatever happened here in between.
    """

    name = "geminishim"
    summary = "Speaks Google's generateContent to Gemini"
    rejects = ("body_too_large",)
    dialect = "gemini"
    wire_dialect = "gemini.generate_content"
    serves = frozenset(("chat", "embeddings"))

    class Settings(ShimSettings):
        safety: dict[str, str] = Field(
            default={},
            max_length=20,
            description="Harm category -> threshold, as Google names them; empty: the provider's own.",
        )
        safety_retry: bool = Field(
            default=False, description="Try once more with `safety_retry_settings` when the filter refused."
        )
        safety_retry_settings: dict[str, str] = Field(
            default={}, max_length=20, description="Harm category -> threshold of that second try."
        )
        inline_mb: int = Field(
            default=15, ge=1, le=100, description="Largest sum of what is inlined in one call, in megabytes."
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._media = RemoteMedia(allow_private_networks=False)

    async def start(self, core: Core, previous: Module | None) -> None:
        self._media = RemoteMedia.of(core)

    async def stop(self) -> None:
        await self._media.close()

    async def call(self, x: Exchange, attempt: Attempt) -> Answer:
        attempt.base_url = self.base_url
        if x.kind == "embeddings":
            return await self._embed(x, attempt)
        limit = self.settings.inline_mb << 20
        if FETCHED not in x.state:
            x.state[FETCHED] = await self._media.fetch_all(remote_urls(self.request(x)["messages"]), limit)
        try:
            answer = await super().call(x, attempt)
        except (CallFailed, StockyardError) as error:
            if not (self._may_relax(x) and _is_filtered(error)):
                raise
        else:
            if not (self._may_relax(x) and _says_nothing(answer)):
                return answer
        x.state[RELAXED] = True
        x.note("safety_retry", {"settings": self.settings.safety_retry_settings}, module=self.name, hook="around")
        return await super().call(x, attempt)

    def _may_relax(self, x: Exchange) -> bool:
        own = self.settings
        return own.safety_retry and bool(own.safety_retry_settings) and not x.state.get(RELAXED)

    def write(self, x: Exchange, target: Target) -> Outbound:
        own = self.settings
        fetched: Mapping[str, Media] = x.state.get(FETCHED) or {}
        relaxed = x.state.get(RELAXED)
        written = write_chat(
            self.request(x),
            target.model,
            fetched=fetched,
            safety=own.safety_retry_settings if relaxed else own.safety,
            thoughts=own.reasoning == "show",
        )
        if written.inline_bytes * 3 // 4 > own.inline_mb << 20:
            raise StockyardError(
                "body_too_large",
                f"The media in the messages are over {own.inline_mb} MB.",
                param="messages",
                retryable=False,
            )
        if relaxed:
            written.body["safetySettings"] = [
                {"category": name, "threshold": level} for name, level in own.safety_retry_settings.items()
            ]
        else:
            self.dropped(x, written.dropped)
        method = b":streamGenerateContent?alt=sse" if x.stream else b":generateContent"
        return Outbound(_model_path(target.model) + method, orjson.dumps(written.body), written.body)

    def read(self, x: Exchange, target: Target, headers: dict[bytes, bytes], raw: bytes) -> JSON:
        obj: Any = orjson.loads(raw)
        say_upstream_id(x, obj.get("responseId"))
        return read_chat(obj, target.model, *answer_head(x), reasoning=self.settings.reasoning == "show")

    def reader(self, x: Exchange, target: Target, headers: dict[bytes, bytes]) -> GeminiReader:
        return GeminiReader(
            target.model,
            *answer_head(x),
            reasoning=self.settings.reasoning == "show",
            stop_at_filter=self._may_relax(x),
            first_id=lambda found: say_upstream_id(x, found),
        )

    async def _embed(self, x: Exchange, attempt: Attempt) -> Answer:
        target = attempt.target
        bodies, dropped = write_embeddings(x.req, target.model)
        self.dropped(x, dropped)
        path = _model_path(target.model) + b":batchEmbedContents"
        vectors: list[list[float]] = []
        tokens: int | None = None
        for body in bodies:
            response = await attempt.send(Outbound(path, orjson.dumps(body), body))
            if response.status != 200:
                raise self.failed(x, await attempt.refused(response))
            raw = await attempt.read(response)
            try:
                found, counted = read_embeddings(orjson.loads(raw))
            except MALFORMED as error:
                raise attempt.broken(error, response.headers, raw) from error
            vectors += found
            if counted is not None:
                tokens = (tokens or 0) + counted
        as_base64 = x.req.get("encoding_format") == "base64"
        obj = embeddings_answer(vectors, target.model, as_base64=as_base64, prompt_tokens=tokens)
        return attempt.whole(obj, None, response.headers, native="")


def _model_path(model: str) -> bytes:
    """`models/x`, or `tunedModels/x` where the name says so."""
    name = model if "/" in model else f"models/{model}"
    return b"/" + quote(name, safe="/").encode("ascii")


def _is_filtered(error: CallFailed | StockyardError) -> bool:
    if isinstance(error, StockyardError):
        return error.code == "content_filter"
    return classify(error.status, read_provider_error(error.body)) == "content_filter"


def _says_nothing(answer: Answer) -> bool:
    """Whether every choice of a whole answer was filtered before it said anything."""
    choices = answer.obj.get("choices") if answer.obj else None
    return bool(choices) and all(
        choice["finish_reason"] == "content_filter" and not choice["message"].get("content") for choice in choices or ()
    )
