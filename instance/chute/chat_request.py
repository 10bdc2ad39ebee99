"""Reading a chat request: decoded once, refused with the reason when it is none."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.exchange import Exchange
from instance.core.errors import StockyardError

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


def take_chat(x: Exchange, messages_max: int, tools_max: int, depth_max: int) -> None:
    """Decode `x.raw` into `x.req` and check what every provider needs; raises `StockyardError` with `param`."""
    raw = x.raw
    req = x.req = decode(raw)
    check_depth(raw, req, depth_max)
    model = req.get("model")
    named = x.headers.get(b"x-stockyard-model")
    if named:
        model = req["model"] = named.decode("utf-8", "replace")
        x.changed = True
    if model is None or model == "":
        raise StockyardError("model_required", 'Name a model, for example "mock/gpt".', param="model")
    if not isinstance(model, str) or len(model) > MODEL_MAX_CHARACTERS or not (model.isascii() and model.isprintable()):
        raise StockyardError(
            "bad_request",
            f"`model` is a string of at most {MODEL_MAX_CHARACTERS} printable ASCII characters.",
            param="model",
        )
    x.model_requested = model
    messages = req.get("messages")
    if not isinstance(messages, list) or not messages:
        raise StockyardError("bad_request", "`messages` must be a list with at least one message.", param="messages")
    if len(messages) > messages_max:
        raise StockyardError("bad_request", f"At most {messages_max} messages.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise StockyardError(
                "bad_request", "A message is an object with `role` and `content`.", param=f"messages[{index}]"
            )
        if not isinstance(message.get("role"), str):
            raise StockyardError("bad_request", "A message needs a `role`.", param=f"messages[{index}].role")
        content = message.get("content")
        parts = isinstance(content, list) and all(isinstance(part, dict) for part in content)
        if not (content is None or isinstance(content, str) or parts):
            raise StockyardError(
                "bad_request", "`content` is a string or a list of parts.", param=f"messages[{index}].content"
            )
    tools = req.get("tools")
    if tools is not None and (not isinstance(tools, list) or len(tools) > tools_max):
        raise StockyardError("bad_request", f"`tools` is a list of at most {tools_max}.", param="tools")
    stream = req.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise StockyardError("bad_request", "`stream` is true or false.", param="stream")
    x.stream = bool(stream)
    options = req.get("stream_options")
    if options is not None:
        if not isinstance(options, dict):
            raise StockyardError("bad_request", "`stream_options` is an object.", param="stream_options")
        x.usage_asked = bool(options.get("include_usage"))
    count = req.get("n")
    if count is not None and (type(count) is not int or not 1 <= count <= 128):
        raise StockyardError("bad_request", "`n` is an integer from 1 to 128.", param="n")
