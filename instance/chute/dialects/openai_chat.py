"""OpenAI chat completions, the canonical form: decoded once, refused with the reason when it is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from instance.chute.answer import JSON
from instance.chute.operation import Operation
from instance.chute.stream import EventSplitter
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings

MODEL_MAX_CHARACTERS = 256


def decode(raw: bytes) -> dict[str, Any]:
    """The body as a JSON object; raises `invalid_json` or `bad_request`."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise StockyardError("invalid_json", f"The body is not valid JSON: {error}.") from None
    if not isinstance(body, dict):
        raise StockyardError("bad_request", "The body must be a JSON object.")
    return body


def check_depth(raw: bytes, body: dict[str, Any], limit: int) -> None:
    """Refuse bodies nested deeper than `limit`; free for bodies with fewer brackets than that."""
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return
    level: list[Any] = [body]
    depth = 0
    while level:
        depth += 1
        if depth > limit:
            raise StockyardError("bad_request", f"The body is nested deeper than {limit} levels.")
        below: list[Any] = []
        for node in level:
            for child in node.values() if isinstance(node, dict) else node:
                if isinstance(child, (dict, list)):
                    below.append(child)
        level = below


class ChatCompletion(Operation):
    """`POST /v1/chat/completions`."""

    name: ClassVar[str] = "chat.completion"
    kind: ClassVar[str] = "chat"
    dialect: ClassVar[str] = "openai.chat"
    path: ClassVar[bytes] = b"/chat/completions"

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        raw = x.raw
        req = x.req = decode(raw)
        check_depth(raw, req, limits.depth)
        x.model_requested = take_model(x, req)
        filled = not req.get("messages") and is_filled(x, req)
        if filled:
            req["messages"] = []
        check_chat(req, limits, may_be_empty=filled)
        x.stream = bool(req.get("stream"))
        options = req.get("stream_options")
        if options is not None:
            x.usage_asked = bool(options.get("include_usage"))

    def read(self, x: Exchange, raw: bytes) -> JSON:
        answer = super().read(x, raw)
        choices = answer.get("choices")
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise ValueError("the answer has no choices")
        return answer

    def reader(self, x: Exchange) -> EventSplitter:
        return EventSplitter()


def take_model(x: Exchange, body: dict[str, Any]) -> str:
    """The model that is asked for: the header's, which is then written into `body`, else the body's.

    Empty when there is none and a module of the plan will choose one; else raises `model_required`."""
    model = body.get("model")
    named = x.headers.get(b"x-stockyard-model")
    if named:
        model = body["model"] = named.decode("utf-8", "replace")
        x.changed = True
    if model is None or model == "":
        if x.plan is not None and (x.plan.fills_model or is_filled(x, body)):
            return ""
        raise StockyardError("model_required", 'Name a model, for example "mock/gpt".', param="model")
    if not isinstance(model, str) or len(model) > MODEL_MAX_CHARACTERS or not (model.isascii() and model.isprintable()):
        raise StockyardError(
            "bad_request",
            f"`model` is a string of at most {MODEL_MAX_CHARACTERS} printable ASCII characters.",
            param="model",
        )
    return model


def is_filled(x: Exchange, body: dict[str, Any]) -> bool:
    """Whether the call names a stored prompt, and a module of the plan fills it in."""
    if x.plan is None or not x.plan.fills_template:
        return False
    model = body.get("model")
    named = b"x-stockyard-template" in x.headers or "_template" in body
    return named or (isinstance(model, str) and model.startswith("prompt:"))


def take_native(x: Exchange, limits: LimitSettings) -> JSON:
    """The body of a dialect that is translated, decoded into `x.native`, its model in `x.model_requested`. Raises 400."""
    native = x.native = decode(x.raw)
    check_depth(x.raw, native, limits.depth)
    changed = x.changed
    x.model_requested = take_model(x, native)
    x.changed = changed  # a model named by a header is in `native`, where `native_body` sees it
    return native


def _no_message(message: Any, place: str) -> StockyardError:
    """Why it is no message, with the `param`."""
    if not isinstance(message, dict):
        return StockyardError("bad_request", "A message is an object with `role` and `content`.", param=place)
    if not isinstance(message.get("role"), str):
        return StockyardError("bad_request", "A message needs a `role`.", param=f"{place}.role")
    return StockyardError("bad_request", "`content` is a string or a list of parts.", param=f"{place}.content")


def check_chat(req: JSON, limits: LimitSettings, *, may_be_empty: bool = False) -> None:
    """Refuse what no provider of chat could take, with the `param`; the rest is the provider's to judge."""
    messages = req.get("messages")
    if not isinstance(messages, list) or not (messages or may_be_empty):
        raise StockyardError("bad_request", "`messages` must be a list with at least one message.", param="messages")
    if len(messages) > limits.messages:
        raise StockyardError("bad_request", f"At most {limits.messages} messages.", param="messages")
    for index, message in enumerate(messages):
        if type(message) is dict and type(message.get("role")) is str:
            content = message.get("content")
            if type(content) is str or content is None:
                continue
            if type(content) is list and all(type(part) is dict for part in content):
                continue
        raise _no_message(message, f"messages[{index}]")
    tools = req.get("tools")
    if tools is not None and (not isinstance(tools, list) or len(tools) > limits.tools):
        raise StockyardError("bad_request", f"`tools` is a list of at most {limits.tools}.", param="tools")
    stream = req.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise StockyardError("bad_request", "`stream` is true or false.", param="stream")
    options = req.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise StockyardError("bad_request", "`stream_options` is an object.", param="stream_options")
    count = req.get("n")
    if count is not None and (type(count) is not int or not 1 <= count <= 128):
        raise StockyardError("bad_request", "`n` is an integer from 1 to 128.", param="n")
