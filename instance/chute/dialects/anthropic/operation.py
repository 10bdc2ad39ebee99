"""`POST /v1/messages`: served by any provider, and byte for byte by one that speaks it itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from instance.chute.answer import JSON, Answer
from instance.chute.dialects.anthropic.answer import read_answer
from instance.chute.dialects.anthropic.caller_answer import answer_blocks, stop_reason, write_answer
from instance.chute.dialects.anthropic.caller_request import check, is_sendable, native_only, read_request
from instance.chute.dialects.anthropic.event_reader import AnthropicReader
from instance.chute.dialects.anthropic.event_writer import EventWriter
from instance.chute.dialects.anthropic.native_rewriter import NativeRewriter
from instance.chute.dialects.openai_chat import take_native
from instance.chute.operation import Operation, StreamEncoder
from instance.core.errors import StockyardError, error_body

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings


class Messages(Operation):
    """`POST /v1/messages`."""

    name: ClassVar[str] = "message"
    kind: ClassVar[str] = "chat"
    dialect: ClassVar[str] = "anthropic.messages"
    path: ClassVar[bytes] = b"/messages"
    translated: ClassVar[bool] = True
    ends_native: ClassVar[bool] = True

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        native = take_native(x, limits)
        check(native, limits)
        x.req = read_request(native)
        x.stream = bool(native.get("stream"))

    def native_body(self, x: Exchange, model: str) -> tuple[bytes, JSON] | None:
        native = x.native
        assert native is not None
        if x.changed or not is_sendable(native):
            return None
        if native.get("model") == model and b"x-stockyard-model" not in x.headers:
            return x.raw, native
        sent = {**native, "model": model}
        return orjson.dumps(sent), sent

    def check_translated(self, x: Exchange) -> None:
        found = native_only(x.native or {})
        if found:
            raise StockyardError(
                "unsupported_parameter",
                f"Only Anthropic itself can serve `{found}`; the provider of this model cannot.",
                param=found,
                retryable=False,
            )

    def read(self, x: Exchange, raw: bytes) -> JSON:
        return read_answer(super().read(x, raw), x.started_wall_ns // 10**9)

    def reader(self, x: Exchange) -> AnthropicReader:
        return AnthropicReader(x.model_requested, x.started_wall_ns // 10**9, self._id(x), native=True)

    def whole(self, x: Exchange, answer: Answer) -> bytes:
        if answer.obj is None and answer.body is not None:
            return _as_error(answer.body)
        return orjson.dumps(write_answer(answer.obj or {}, self._id(x)))

    def rewritten(self, x: Exchange, answer: Answer) -> bytes:
        native = orjson.loads(answer.body or b"{}")
        obj = answer.obj or {}
        choice: JSON = next(iter(obj.get("choices") or ()), {})
        content = answer_blocks(choice.get("message") or {})
        reason = stop_reason(choice.get("finish_reason"), obj.get("anthropic") or {})
        return orjson.dumps({**native, "content": content, "stop_reason": reason})

    def encoder(self, x: Exchange) -> StreamEncoder:
        answer = x.answer
        if answer is None or answer.native != self.dialect:
            return EventWriter(self._id(x))
        return NativeRewriter(answer.reader if isinstance(answer.reader, AnthropicReader) else self.reader(x))

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> dict[str, Any]:
        return {"type": "error", **error_body(error, request_id, trace_id)}

    def _id(self, x: Exchange) -> str:
        return f"msg_{x.id[3:]}"


def _as_error(body: bytes) -> bytes:
    """A provider's own error body, shown as it is, with the mark by which callers of this dialect know one."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(found, dict) or found.get("type") == "error":
        return body
    return orjson.dumps({"type": "error", **found} if "error" in found else {"type": "error", "error": found})
