"""A provider's own stream of Responses, as its documentation shows it, and readers of streams for the tests."""

from typing import Any

import orjson
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

JSON = dict[str, Any]

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def response(status: str = "completed", **more: Any) -> JSON:
    return {
        "id": "resp_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b",
        "object": "response",
        "created_at": 1756315696,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": "gpt-4o-mini",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
        "usage": None,
        **more,
    }


USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 6,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 16,
}
MESSAGE: JSON = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hello, wörld", "annotations": [], "logprobs": []}],
}
CALL: JSON = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city":"Oslo"}',
}
REASONING: JSON = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Greet first."}],
    "encrypted_content": "blob",
}


def answer(**more: Any) -> JSON:
    """A whole native answer: it thought, spoke and called."""
    return response(output=[REASONING, MESSAGE, CALL], usage=USAGE, **more)


def sse(*events: JSON) -> bytes:
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in numbered)


def native_events() -> list[JSON]:
    """The stream of `answer()`."""
    summary = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    text = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    call = {"item_id": "fc_1", "output_index": 2}
    return [
        {"type": "response.created", "response": response("in_progress")},
        {"type": "response.in_progress", "response": response("in_progress")},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"id": "rs_1", "type": "reasoning", "summary": []},
        },
        {"type": "response.reasoning_summary_part.added", **summary, "part": {"type": "summary_text", "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **summary, "delta": "Greet "},
        {"type": "response.reasoning_summary_text.delta", **summary, "delta": "first."},
        {"type": "response.reasoning_summary_text.done", **summary, "text": "Greet first."},
        {
            "type": "response.reasoning_summary_part.done",
            **summary,
            "part": {"type": "summary_text", "text": "Greet first."},
        },
        {"type": "response.output_item.done", "output_index": 0, "item": REASONING},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {**MESSAGE, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **text, "part": {"type": "output_text", "text": "", "annotations": []}},
        {"type": "response.output_text.delta", **text, "delta": "Hello, ", "logprobs": []},
        {"type": "response.output_text.delta", **text, "delta": "wörld", "logprobs": []},
        {"type": "response.output_text.done", **text, "text": "Hello, wörld", "logprobs": []},
        {"type": "response.content_part.done", **text, "part": MESSAGE["content"][0]},
        {"type": "response.output_item.done", "output_index": 1, "item": MESSAGE},
        {
            "type": "response.output_item.added",
            "output_index": 2,
            "item": {**CALL, "status": "in_progress", "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", **call, "delta": '{"city":'},
        {"type": "response.function_call_arguments.delta", **call, "delta": '"Oslo"}'},
        {"type": "response.function_call_arguments.done", **call, "arguments": '{"city":"Oslo"}', "name": "weather"},
        {"type": "response.output_item.done", "output_index": 2, "item": CALL},
        {"type": "response.completed", "response": answer()},
    ]


def events_of(raw: bytes) -> list[JSON]:
    """The events of a stream that we made: each named as its type says, numbered without a gap, as the SDK's types have it."""
    made: list[JSON] = []
    for block in raw.split(b"\n\n"):
        if not block:
            continue
        name, data = block.split(b"\n")
        event = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        assert event["sequence_number"] == len(made)
        EVENTS.validate_python(event)
        made.append(event)
    return made


def types_of(events: list[JSON]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]
