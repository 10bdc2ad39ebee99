"""Event streams of the Messages API, written for tests."""

from typing import Any

import orjson

JSON = dict[str, Any]


def event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **data}) + b"\n\n"


def start(usage: JSON | None = None) -> bytes:
    message: JSON = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage or {"input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 1},
    }
    return event("message_start", message=message)


def block(index: int, first: JSON, *deltas: JSON) -> bytes:
    pieces = [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return (
        event("content_block_start", index=index, content_block=first)
        + b"".join(pieces)
        + event("content_block_stop", index=index)
    )


def texts(index: int, *pieces: str) -> bytes:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def call(index: int, call_id: str, name: str, *pieces: str) -> bytes:
    first = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    return block(index, first, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def thought(index: int, signature: str, *pieces: str) -> bytes:
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    return block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        *deltas,
        {"type": "signature_delta", "signature": signature},
    )


def end(reason: str, output: int = 7, **delta: Any) -> bytes:
    last = event(
        "message_delta", delta={"stop_reason": reason, "stop_sequence": None, **delta}, usage={"output_tokens": output}
    )
    return last + event("message_stop")
