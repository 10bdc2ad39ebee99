"""The chat answers of the mock upstream, whole and streamed, as OpenAI's API forms them."""

from collections.abc import Iterator
from typing import Any

import orjson

from tests.mock_replies import Reply

CREATED = 1_760_000_000


def last_user_text(asked: dict[str, Any]) -> str:
    for message in reversed(asked.get("messages", [])):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            return "".join(part.get("text", "") for part in content)
    return ""


def _content(asked: dict[str, Any], reply: Reply) -> str:
    if reply.pieces is not None:
        return "".join(reply.pieces)
    return reply.text if reply.text is not None else f"echo: {last_user_text(asked)}"


def _usage(asked: dict[str, Any], content: str, reply: Reply) -> dict[str, int]:
    if reply.usage is not None:
        return reply.usage
    words = sum(len(str(message.get("content")).split()) for message in asked.get("messages", []))
    said = len(content.split())
    return {"prompt_tokens": words, "completion_tokens": said, "total_tokens": words + said}


def completion(asked: dict[str, Any], reply: Reply) -> bytes:
    """A whole `chat.completion`."""
    content = _content(asked, reply)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    finish = "stop"
    if reply.tool_call is not None:
        name, arguments = reply.tool_call
        call = {"name": name, "arguments": orjson.dumps(arguments).decode()}
        message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
        finish = "tool_calls"
    return orjson.dumps(
        {
            "id": "chatcmpl-mock",
            "object": "chat.completion",
            "created": CREATED,
            "model": asked.get("model"),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": _usage(asked, content, reply),
            "system_fingerprint": "fp_mock",
        }
    )


def stream_events(asked: dict[str, Any], reply: Reply) -> Iterator[bytes]:
    """The server-sent events of a streamed answer: role, pieces, finish, usage when asked for, [DONE]."""
    content = _content(asked, reply)
    pieces = reply.pieces if reply.pieces is not None else [word + " " for word in content.split(" ")]
    if reply.pieces is None and pieces:
        pieces[-1] = pieces[-1][:-1]

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _event(asked, [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}])

    yield event({"role": "assistant", "content": ""})
    if reply.tool_call is not None:
        name, arguments = reply.tool_call
        call = {"name": name, "arguments": orjson.dumps(arguments).decode()}
        yield event({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": call}]})
        yield event({}, "tool_calls")
    else:
        for piece in pieces:
            yield event({"content": piece})
        yield event({}, "stop")
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield _event(asked, [], _usage(asked, content, reply))
    yield b"data: [DONE]\n\n"


def _event(asked: dict[str, Any], choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
    chunk: dict[str, Any] = {
        "id": "chatcmpl-mock",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": asked.get("model"),
        "choices": choices,
    }
    if (asked.get("stream_options") or {}).get("include_usage"):
        chunk["usage"] = usage
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
