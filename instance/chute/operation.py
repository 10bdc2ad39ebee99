"""One path of `/v1`: how its request is read into the canonical form, and how its answer is written for the caller.

The canonical form is OpenAI's: of chat for everything that talks (`chat`, and completions, responses and messages, which are
translated), of the endpoint itself for embeddings, images, audio, moderations and rerank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import orjson

from instance.chute.answer import JSON, Answer, Delta
from instance.core.errors import StockyardError, error_body

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings


class StreamReader(Protocol):
    """A provider's stream, cut into `Delta`s whose `obj` is a canonical chunk, wherever the blocks are cut.

    `done` becomes true with the stream's own last event (which is given as a `Delta` with `raw == DONE`, `obj is None`).
    Raises `StreamBroken` for what is not of the dialect; good events before the broken one come first. An error event of
    the provider is given as a chunk `{"error": {...}}`.
    """

    done: bool

    def feed(self, block: bytes) -> list[Delta]:
        """The events that are complete with this block."""

    def close(self) -> list[Delta]:
        """What was left when the body ended."""


class StreamEncoder(Protocol):
    """Canonical chunks on their way to the caller, as bytes of the caller's dialect. One object serves one stream."""

    def event(self, delta: Delta) -> bytes:
        """One chunk (`delta.obj`), or what has none (`delta.obj is None`: `[DONE]` is never passed)."""

    def rewritten(self, delta: Delta) -> bytes:
        """An event that arrived in the caller's own dialect (`delta.raw`) whose chunk (`delta.obj`) a module changed."""

    def end(self) -> bytes:
        """The stream's last bytes after a proper end."""

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> bytes:
        """The stream's last bytes when it broke."""


class Operation:
    """What one path of `/v1` takes and gives. Stateless; one object serves all calls."""

    name: ClassVar[str]
    """The trace's `operation`: `chat.completion`, `message`, `embedding` …"""
    kind: ClassVar[str] = "chat"
    dialect: ClassVar[str]
    """The trace's `dialect_in`: `openai.chat`, `anthropic.messages` …"""
    path: ClassVar[bytes] = b""
    """Where an OpenAI-compatible provider serves it, below its base URL; empty when only translated."""
    multipart: ClassVar[bool] = False
    translated: ClassVar[bool] = False
    """Whether `x.req` is another form than the caller's, which is then in `x.native`."""
    prepares: ClassVar[bool] = False
    """Whether `prepare` is awaited between `take` and the chain."""
    ends_native: ClassVar[bool] = False
    """Whether the encoder's `end` is also asked for a stream that came in the caller's own dialect."""
    answer_max_bytes: ClassVar[int] = 32 << 20
    """The largest whole answer that is taken from a provider."""

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        """Decode `x.raw` into `x.req` (canonical), `x.native` (as it came, when that differs), `x.model_requested`,
        `x.stream`, `x.usage_asked`. Raises `StockyardError` 400 with `param`."""
        raise NotImplementedError

    async def prepare(self, x: Exchange, services: Mapping[str, Any], limits: LimitSettings) -> None:
        """What the request needs before the chain and cannot be had at once; only where `prepares`. Raises `StockyardError`."""

    def check_translated(self, x: Exchange) -> None:
        """Refuse what the canonical form has no place for, when the call goes to a provider that does not speak this dialect."""

    def native_body(self, x: Exchange, model: str) -> tuple[bytes, JSON] | None:
        """The request for a provider that speaks this dialect itself, with its name of the model: the bytes that came when
        only they are needed. `None` when it cannot be written in this dialect any more (a module changed the canonical form)."""
        native = x.req if x.native is None else x.native
        if x.changed and self.translated:
            return None
        if not x.changed and native.get("model") == model:
            return x.raw, native
        sent = {**native, "model": model}
        return orjson.dumps(sent), sent

    def sent_type(self, x: Exchange) -> bytes:
        """Content type of `native_body`; a multipart body keeps the boundary that it came with."""
        return x.headers.get(b"content-type", b"") if self.multipart else b"application/json"

    def kept_request(self, x: Exchange) -> bytes:
        """What is stored of the request where texts are: the body, or for a form its fields without the files."""
        return x.raw

    def no_target(self, x: Exchange, error: StockyardError) -> StockyardError:
        """What the caller gets when no provider serves the asked model."""
        return error

    def binary(self, x: Exchange) -> bool:
        """Whether the answer is bytes (speech) that are passed on as they arrive."""
        return False

    def read(self, x: Exchange, raw: bytes) -> JSON:
        """A whole answer that came in this dialect, in canonical form. Raises `ValueError` for what is none."""
        obj = orjson.loads(raw)
        if not isinstance(obj, dict):
            raise ValueError("the answer is no JSON object")
        return obj

    def arrived(self, x: Exchange, answer: Answer, content_type: bytes) -> None:
        """A whole answer of a provider that has this endpoint, before any module sees it: the place to say that it is no JSON
        (`answer.content_type`; the provider's is `content_type`) or has to be written anew (`answer.changed`)."""

    def reader(self, x: Exchange) -> StreamReader:
        """For a stream that comes in this dialect."""
        raise NotImplementedError

    def whole(self, x: Exchange, answer: Answer) -> bytes:
        """A canonical answer (`answer.obj`) as the caller's body."""
        return orjson.dumps(answer.obj)

    def rewritten(self, x: Exchange, answer: Answer) -> bytes:
        """An answer that arrived in the caller's own dialect (`answer.body`), whose canonical form a module changed."""
        return self.whole(x, answer)

    def encoder(self, x: Exchange) -> StreamEncoder | None:
        """What turns a stream's chunks into the caller's dialect; `None`: they are it already."""
        return None

    def measure(self, x: Exchange) -> None:
        """Fill in what an answered call used where the provider did not say (`x.usage`), as far as it can be counted; asked of
        kinds other than text, whose tokens the core estimates."""

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> dict[str, Any]:
        """The body of an error answer."""
        return error_body(error, request_id, trace_id)
