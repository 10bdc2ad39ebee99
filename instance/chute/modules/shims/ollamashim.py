"""ollamashim: speaks Ollama's own API to providers of type `ollama`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from math import inf
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import Field, field_validator

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.attempt import MALFORMED, Attempt, Outbound
from instance.chute.dialects.embedding_vectors import embeddings_answer
from instance.chute.dialects.ollama.answer import read_chat
from instance.chute.dialects.ollama.embeddings import read_embeddings, write_embeddings
from instance.chute.dialects.ollama.pull import PullProgress
from instance.chute.dialects.ollama.request import context_size, output_tokens, remote_urls, write_chat
from instance.chute.dialects.ollama.stream import OllamaReader
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.first_token import allow_more_time
from instance.chute.module import Module, ModuleSettings
from instance.chute.remote_media import RemoteMedia
from instance.chute.retry_after import read_duration
from instance.chute.shim import Shim, ShimSettings, answer_head
from instance.chute.stream import StreamBroken
from instance.chute.tokens import count_prompt_tokens
from instance.chute.upstream import UpstreamError
from instance.core.clock import Clock

if TYPE_CHECKING:
    from instance.chute.targets import Target
    from instance.core.core import Core

FETCHED = "ollamashim.fetched"
INLINE_MAX_BYTES = 32 << 20
LOADED_MAX = 256
"""Models that are remembered as loaded."""
UNREACHABLE = frozenset(("connect", "connect_timeout"))


class OllamaShim(Shim):
    """Chat and embeddings in Ollama's own API.

    The context is made as large as the prompt needs: the server would cut a long prompt without a word. A model that is not
    there can be pulled, and one that has to be loaded has more time for its first token.
    """

    name = "ollamashim"
    summary = "Speaks Ollama's own API, with a context as large as the prompt needs"
    rejects = ("ollama_unreachable",)
    dialect = "ollama"
    wire_dialect = "ollama.chat"
    serves = frozenset(("chat", "embeddings"))

    class Settings(ShimSettings):
        keep_alive: str = Field(
            default="5m", max_length=20, description="How long a model stays loaded after a call; -1: for ever."
        )
        min_ctx: int = Field(default=4096, ge=256, le=1 << 22, description="Smallest context, in tokens.")
        max_ctx: int = Field(default=32768, ge=256, le=1 << 22, description="Largest context, in tokens.")
        auto_pull: bool = Field(default=False, description="Pull a model that the server does not have.")
        load_timeout_s: float = Field(
            default=120,
            ge=0,
            le=86_400,
            description="Seconds added to the time for the first token while a model loads.",
        )

        @field_validator("keep_alive")
        @classmethod
        def _a_duration(cls, keep_alive: str) -> str:
            if keep_alive and read_duration(keep_alive, 0.0) is None:
                raise ValueError("a duration like 5m, 1h30m, 300 or -1")
            return keep_alive

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._media = RemoteMedia(allow_private_networks=False)
        self._clock = Clock()
        self._loaded: dict[str, float] = {}
        """Target -> second of the clock until when its model is loaded."""
        given = self.settings.keep_alive
        self._kept_s = inf if given.startswith("-") else read_duration(given, 0.0) or 0.0

    async def start(self, core: Core, previous: Module | None) -> None:
        self._media = RemoteMedia.of(core)
        self._clock = core.clock
        if isinstance(previous, OllamaShim):
            self._loaded = previous._loaded

    async def stop(self) -> None:
        await self._media.close()

    async def call(self, x: Exchange, attempt: Attempt) -> Answer:
        attempt.base_url = self.base_url
        target = attempt.target
        if not self._is_loaded(target):
            allow_more_time(x, self.settings.load_timeout_s)
        try:
            answer = await self._called(x, attempt)
        except CallFailed as failure:
            if not (self.settings.auto_pull and _is_missing(failure)):
                raise
            x.note("pull", {"model": target.model}, module=self.name, hook="around")
            if x.stream:
                return Answer(events=self._pulled_stream(x, attempt), target=target)
            allow_more_time(x, inf)
            async for _ in self._pull(attempt):
                pass
            answer = await self._called(x, attempt)
        except UpstreamError as error:
            if error.kind in UNREACHABLE:
                raise self._unreachable(attempt, error) from error
            raise
        self._say_loaded(target)
        return answer

    async def _called(self, x: Exchange, attempt: Attempt) -> Answer:
        if x.kind == "embeddings":
            return await self._embed(x, attempt)
        if FETCHED not in x.state:
            x.state[FETCHED] = await self._media.fetch_all(remote_urls(self.request(x)["messages"]), INLINE_MAX_BYTES)
        return await super().call(x, attempt)

    def write(self, x: Exchange, target: Target) -> Outbound:
        own = self.settings
        req = self.request(x)
        prompt = count_prompt_tokens(req)
        size = context_size(prompt, output_tokens(req), own.min_ctx, own.max_ctx)
        body, dropped = write_chat(
            req,
            target.model,
            stream=x.stream,
            keep_alive=own.keep_alive,
            num_ctx=size,
            fetched=x.state.get(FETCHED),
        )
        self.dropped(x, dropped)
        sent = body["options"]["num_ctx"]
        if type(sent) is int and prompt > sent:
            x.note("prompt_cut", {"tokens": prompt, "num_ctx": sent}, module=self.name, hook="around")
        return Outbound(b"/api/chat", orjson.dumps(body), body)

    def read(self, x: Exchange, target: Target, headers: dict[bytes, bytes], raw: bytes) -> JSON:
        obj: Any = orjson.loads(raw)
        if obj.get("error"):
            raise CallFailed("http", target, status=502, headers=headers, body=raw)
        return read_chat(obj, target.model, *answer_head(x), reasoning=self.settings.reasoning == "show")

    def reader(self, x: Exchange, target: Target, headers: dict[bytes, bytes]) -> OllamaReader:
        return OllamaReader(target.model, *answer_head(x), reasoning=self.settings.reasoning == "show")

    async def _embed(self, x: Exchange, attempt: Attempt) -> Answer:
        target = attempt.target
        x.dialect_out = "ollama.embed"
        body, dropped = write_embeddings(x.req, target.model, self.settings.keep_alive)
        self.dropped(x, dropped)
        response = await attempt.send(Outbound(b"/api/embed", orjson.dumps(body), body))
        if response.status != 200:
            raise await attempt.refused(response)
        raw = await attempt.read(response)
        try:
            vectors, tokens = read_embeddings(orjson.loads(raw))
            as_base64 = x.req.get("encoding_format") == "base64"
            obj = embeddings_answer(vectors, target.model, as_base64=as_base64, prompt_tokens=tokens)
        except MALFORMED as error:
            raise attempt.broken(error, response.headers, raw) from error
        return attempt.whole(obj, None, response.headers, native="")

    async def _pull(self, attempt: Attempt) -> AsyncGenerator[str, None]:
        """Fetches the model to the server; yields each step in words. Raises `CallFailed`, `UpstreamError`."""
        target = attempt.target
        body = {"model": target.model, "stream": True}
        response = await attempt.send(Outbound(b"/api/pull", orjson.dumps(body), body))
        if response.status != 200:
            raise await attempt.refused(response)
        progress = PullProgress(target.model)
        try:
            while not progress.done:
                block = await response.next_block()
                for words in progress.feed(block):
                    yield words
                if progress.error or not (block or progress.done):
                    raise CallFailed(
                        "http",
                        target,
                        status=404,
                        headers=response.headers,
                        code="model_not_found",
                        message=f"The model could not be pulled: {progress.error or 'the server stopped'}",
                    )
            await response.next_block()
        except StreamBroken as error:
            raise attempt.broken(error, response.headers) from error
        finally:
            response.close()

    async def _pulled_stream(self, x: Exchange, attempt: Attempt) -> AsyncIterator[list[Delta]]:
        """The model's way to the server as comments, then the answer."""
        try:
            async with aclosing(self._pull(attempt)) as steps:
                async for words in steps:
                    yield [Delta(f": {words}\n\n".encode(), None)]
            answer = await self._called(x, attempt)
        except UpstreamError as error:
            attempt.row["error"] = error.kind
            raise CallFailed(error.kind, attempt.target, reason=str(error)) from error
        except CallFailed as failure:
            attempt.row["error"] = failure.kind
            raise
        assert answer.events is not None
        self._say_loaded(attempt.target)
        try:
            async for events in answer.events:
                yield events
        finally:
            answer.close()

    def _is_loaded(self, target: Target) -> bool:
        return self._loaded.get(target.label, 0.0) > self._clock.mono_ns() / 1e9

    def _say_loaded(self, target: Target) -> None:
        loaded = self._loaded
        if target.label not in loaded and len(loaded) >= LOADED_MAX:
            loaded.pop(next(iter(loaded)))
        loaded[target.label] = self._clock.mono_ns() / 1e9 + self._kept_s

    def _unreachable(self, attempt: Attempt, error: UpstreamError) -> CallFailed:
        target = attempt.target
        url = target.url or attempt.base_url or target.provider.url
        tried = url.text if url is not None else "its base URL"
        return CallFailed(
            error.kind,
            target,
            reason=str(error),
            code="ollama_unreachable",
            message=f"Ollama cannot be reached at {tried}; is it running (`ollama serve`)?",
        )


def _is_missing(failure: CallFailed) -> bool:
    return failure.kind == "http" and failure.status == 404 and b"not found" in failure.body
