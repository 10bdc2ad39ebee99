"""`POST /v1/responses`: translated to chat for a provider of chat, as it is for one that speaks Responses itself."""

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.dialects.openai_chat import take_native
from instance.chute.dialects.openai_responses.call import ResponseCall, call_of
from instance.chute.dialects.openai_responses.errors import reported
from instance.chute.dialects.openai_responses.history import refers, resolve, without_ids
from instance.chute.dialects.openai_responses.input_items import as_items
from instance.chute.dialects.openai_responses.native_answer import chat_completion, with_message
from instance.chute.dialects.openai_responses.native_request import rewritten_request
from instance.chute.dialects.openai_responses.native_rewriter import NativeRewriter
from instance.chute.dialects.openai_responses.native_stream import NativeReader
from instance.chute.dialects.openai_responses.output_items import output_items
from instance.chute.dialects.openai_responses.request import to_chat
from instance.chute.dialects.openai_responses.response_object import finished, item_status
from instance.chute.dialects.openai_responses.stored_response import owner_of
from instance.chute.dialects.openai_responses.stream_encoder import ResponseEncoder, event_bytes
from instance.chute.dialects.openai_responses.translation import bad, not_supported
from instance.chute.failures import CallFailed
from instance.chute.operation import Operation
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings

DIALECT = "openai.responses"


def _now_s() -> int:
    return time_ns() // 1_000_000_000


class Responses(Operation):
    """`POST /v1/responses`."""

    name: ClassVar[str] = "response"
    kind: ClassVar[str] = "chat"
    dialect: ClassVar[str] = DIALECT
    path: ClassVar[bytes] = b"/responses"
    translated: ClassVar[bool] = True
    prepares: ClassVar[bool] = True
    ends_native: ClassVar[bool] = True

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        native = take_native(x, limits)
        _check(native, limits)
        x.stream = bool(native.get("stream"))
        items = [] if native.get("input") is None else as_items(native["input"])
        if not items and not any(native.get(name) for name in ("prompt", "conversation", "previous_response_id")):
            raise bad("input", "`input` is needed: a string or a list of items.")
        if len(items) > limits.messages:
            raise bad("input", f"At most {limits.messages} items.")
        call = x.state["responses"] = ResponseCall(x, native, items)
        self._translate(x, call)

    def _translate(self, x: Exchange, call: ResponseCall) -> None:
        req, into = to_chat(call.native, call.context, len(call.history))
        x.req = req
        call.custom_tools = into.custom_tools
        call.native_only = into.native_only or call.native_only
        x.only_native = call.native_only is not None
        if into.dropped:
            x.note("translated", {"dropped": into.dropped}, module="core", hook="endpoint")

    async def prepare(self, x: Exchange, services: Mapping[str, Any], limits: LimitSettings) -> None:
        call = call_of(x)
        assert x.principal is not None
        call.owner = owner_of(x.principal)
        call.store = services["responses"]
        if not refers(call):
            return
        call.native_only = None
        if await resolve(x, call, services["responses"]):
            call.resolved = True
            if len(call.context) > limits.messages:
                raise bad("previous_response_id", f"The conversation has more than {limits.messages} items.")
        self._translate(x, call)

    def check_translated(self, x: Exchange) -> None:
        reason = call_of(x).native_only
        if reason is not None:
            param, what = reason
            raise not_supported(param, f"The provider of this model has no Responses API, so it cannot serve {what}.")

    def native_body(self, x: Exchange, model: str) -> tuple[bytes, JSON] | None:
        call = call_of(x)
        native = call.native
        if not x.changed and not call.resolved:
            if native.get("model") == model and b"x-stockyard-model" not in x.headers:
                return x.raw, native
            sent: JSON | None = {**native, "model": model}
        elif x.changed:
            whole = {**native, "input": call.context} if call.resolved else native
            sent = rewritten_request(whole, call.context, x.req)
        else:
            sent = {**native, "input": call.context}
        if sent is None:
            return None
        sent["model"] = model
        if not x.stream:
            sent.pop("stream", None)  # a module asks for the answer whole
        if call.resolved:
            if call.history:
                sent.pop("previous_response_id", None)
            if isinstance(sent.get("input"), list):
                sent["input"] = without_ids(sent["input"])
        return orjson.dumps(sent), sent

    def read(self, x: Exchange, raw: bytes) -> JSON:
        response = super().read(x, raw)
        if response.get("status") == "failed":
            error = reported({"response": response})
            raise CallFailed("http", x.targets[0], status=error["error"]["status"], body=orjson.dumps(error))
        made = chat_completion(response)
        call_of(x).made_by(x.targets[0].provider.name, response.get("id"))
        return made

    def reader(self, x: Exchange) -> NativeReader:
        call = call_of(x)
        provider = x.targets[0].provider.name
        return NativeReader(lambda response_id: call.made_by(provider, response_id))

    def whole(self, x: Exchange, answer: Answer) -> bytes:
        call = call_of(x)
        obj = answer.obj or {}
        choices = obj.get("choices")
        choice: JSON = choices[0] if choices else {}
        reason = choice.get("finish_reason")
        message = choice.get("message") or {}
        output = output_items(call.id, message, choice.get("logprobs"), call.custom_tools, item_status(reason))
        begun = call.skeleton(str(obj.get("model") or ""))
        response = finished(begun, output, obj.get("usage"), reason, _now_s())
        body = orjson.dumps(response)
        call.keep(response, len(body))
        return body

    def rewritten(self, x: Exchange, answer: Answer) -> bytes:
        response = orjson.loads(answer.body or b"{}")
        choices = (answer.obj or {}).get("choices")
        return orjson.dumps(with_message(response, choices[0]["message"] if choices else {}))

    def encoder(self, x: Exchange) -> ResponseStreamEncoder:
        return ResponseStreamEncoder(call_of(x))


class ResponseStreamEncoder:
    """One stream: `event` for canonical chunks, `rewritten` for the provider's own events."""

    def __init__(self, call: ResponseCall) -> None:
        self._made = ResponseEncoder(call, _now_s)
        self._native: NativeRewriter | None = None

    def event(self, delta: Delta) -> bytes:
        return self._made.event(delta)

    def rewritten(self, delta: Delta) -> bytes:
        if self._native is None:
            self._native = NativeRewriter()
        return self._native.take(delta)

    def end(self) -> bytes:
        return self._made.end() if self._native is None else self._native.end()

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> bytes:
        if self._native is None:
            return self._made.error(error, request_id, trace_id)
        fields = {"code": error.code, "message": error.message, "param": error.param}
        ids = {"request_id": request_id, "trace_id": trace_id}
        return event_bytes("error", self._native.next_number, {**fields, **ids})


def _check(native: JSON, limits: LimitSettings) -> None:
    """Refuse what no provider could take, with the `param`."""
    if native.get("background"):
        raise not_supported(
            "background", "Responses in the background are not served; leave `background` away and stream."
        )
    stream = native.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise bad("stream", "`stream` is true or false.")
    store = native.get("store")
    if store is not None and not isinstance(store, bool):
        raise bad("store", "`store` is true or false.")
    previous = native.get("previous_response_id")
    if previous is not None and (not isinstance(previous, str) or not 0 < len(previous) <= 512):
        raise bad("previous_response_id", "`previous_response_id` is the id of a response.")
    if previous is not None and native.get("conversation") is not None:
        raise bad("previous_response_id", "Give `previous_response_id` or `conversation`, not both.")
    metadata = native.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise bad("metadata", "`metadata` is an object.")
    tools = native.get("tools")
    if isinstance(tools, list) and len(tools) > limits.tools:
        raise bad("tools", f"`tools` is a list of at most {limits.tools}.")
