"""cohereshim: speaks Cohere's v2 API to providers of type `cohere`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import MALFORMED, Attempt, Outbound
from instance.chute.dialects.cohere.answer import FAILED, read_chat
from instance.chute.dialects.cohere.embeddings import read_embeddings, write_embeddings
from instance.chute.dialects.cohere.request import write_chat
from instance.chute.dialects.cohere.rerank import read_rerank, write_rerank
from instance.chute.dialects.cohere.stream import CohereReader
from instance.chute.dialects.embedding_vectors import embeddings_answer
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.shim import Shim, ShimSettings, answer_head, say_upstream_id
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.targets import Target

INVALID_TOKEN = 498


class CohereShim(Shim):
    """Chat, embeddings and rerank in Cohere's own API, citations as annotations."""

    name = "cohereshim"
    summary = "Speaks Cohere's v2 API"
    rejects = ("not_supported",)
    dialect = "cohere"
    wire_dialect = "cohere.chat"
    serves = frozenset(("chat", "embeddings", "other"))

    class Settings(ShimSettings):
        input_type: str = Field(
            default="search_document",
            max_length=64,
            description="What embedded texts are for where the call does not say it (`input_type`).",
        )
        citations: bool = Field(default=True, description="Whether citations are asked for and shown as annotations.")
        safety_mode: str = Field(
            default="", max_length=64, description="CONTEXTUAL, STRICT or OFF; empty: the provider's own."
        )

    settings: Settings

    async def call(self, x: Exchange, attempt: Attempt) -> Answer:
        attempt.base_url = self.base_url
        if x.kind == "embeddings":
            return await self._embed(x, attempt)
        if x.kind == "other":
            return await self._rerank(x, attempt)
        return await super().call(x, attempt)

    def write(self, x: Exchange, target: Target) -> Outbound:
        own = self.settings
        body, dropped = write_chat(
            self.request(x), target.model, stream=x.stream, citations=own.citations, safety_mode=own.safety_mode
        )
        self.dropped(x, dropped)
        return Outbound(b"/v2/chat", orjson.dumps(body), body)

    def read(self, x: Exchange, target: Target, headers: dict[bytes, bytes], raw: bytes) -> JSON:
        obj: Any = orjson.loads(raw)
        say_upstream_id(x, obj.get("id"))
        failed = FAILED.get(obj.get("finish_reason"))
        if failed is not None:
            raise CallFailed("http", target, status=failed, headers=headers, body=raw)
        own = self.settings
        return read_chat(obj, target.model, *answer_head(x), reasoning=own.reasoning == "show", citations=own.citations)

    def reader(self, x: Exchange, target: Target, headers: dict[bytes, bytes]) -> CohereReader:
        own = self.settings
        return CohereReader(
            target.model,
            *answer_head(x),
            reasoning=own.reasoning == "show",
            citations=own.citations,
            first_id=lambda found: say_upstream_id(x, found),
        )

    def failed(self, x: Exchange, failure: CallFailed) -> CallFailed:
        if failure.status == INVALID_TOKEN:
            return CallFailed("http", failure.target, status=401, headers=failure.headers, body=failure.body)
        return failure

    async def _embed(self, x: Exchange, attempt: Attempt) -> Answer:
        target = attempt.target
        x.dialect_out = "cohere.embed"
        bodies, dropped = write_embeddings(x.req, target.model, self.settings.input_type)
        self.dropped(x, dropped)
        vectors: list[list[float]] = []
        tokens: int | None = None
        headers: dict[bytes, bytes] = {}
        for body in bodies:
            obj, headers, raw = await self._asked(x, attempt, b"/v2/embed", body)
            try:
                found, counted = read_embeddings(obj)
            except MALFORMED as error:
                raise attempt.broken(error, headers, raw) from error
            vectors += found
            if counted is not None:
                tokens = (tokens or 0) + counted
        as_base64 = x.req.get("encoding_format") == "base64"
        answer = embeddings_answer(vectors, target.model, as_base64=as_base64, prompt_tokens=tokens)
        return attempt.whole(answer, None, headers, native="")

    async def _rerank(self, x: Exchange, attempt: Attempt) -> Answer:
        target = attempt.target
        if x.operation.dialect != "cohere.rerank":
            raise StockyardError(
                "not_supported", f"Cohere has no {x.operation.name.replace('.', ' ')}.", param="model", retryable=False
            )
        x.dialect_out = "cohere.rerank"
        body, dropped = write_rerank(x.req, target.model)
        self.dropped(x, dropped)
        obj, headers, raw = await self._asked(x, attempt, b"/v2/rerank", body)
        try:
            answer = read_rerank(obj, x.req, target.model)
        except MALFORMED as error:
            raise attempt.broken(error, headers, raw) from error
        return attempt.whole(answer, None, headers, native="")

    async def _asked(
        self, x: Exchange, attempt: Attempt, path: bytes, body: JSON
    ) -> tuple[Any, dict[bytes, bytes], bytes]:
        """The decoded answer, its headers and its bytes."""
        response = await attempt.send(Outbound(path, orjson.dumps(body), body))
        if response.status != 200:
            raise self.failed(x, await attempt.refused(response))
        raw = await attempt.read(response)
        try:
            obj = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise attempt.broken(error, response.headers, raw) from error
        if isinstance(obj, dict):
            say_upstream_id(x, obj.get("id"))
        return obj, response.headers, raw
