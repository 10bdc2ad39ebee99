from typing import Any

import pytest

from instance.chute.answer import Delta
from instance.chute.delta_text import last_event
from instance.chute.dialects.anthropic.answer import read_answer
from instance.chute.dialects.anthropic.caller_answer import write_answer
from instance.chute.dialects.anthropic.event_reader import AnthropicReader
from instance.chute.dialects.anthropic.event_writer import EventWriter
from instance.chute.dialects.anthropic.named_events import NamedEvents
from instance.chute.dialects.anthropic.native_rewriter import NativeRewriter
from instance.core.errors import StockyardError
from tests.dialects.anthropic.streams import call, end, start, texts, thought
from tests.dialects.anthropic.test_event_reader import FULL
from tests.dialects.streamed import assembled, read

JSON = dict[str, Any]
USAGE = {
    "prompt_tokens": 150,
    "completion_tokens": 9,
    "total_tokens": 159,
    "prompt_tokens_details": {"cached_tokens": 100, "cache_creation_tokens": 30},
}


def answer(message: JSON, finish: str = "stop", **more: Any) -> JSON:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "model": "gpt", "choices": [choice], "usage": USAGE, **more}


def test_a_text_with_usage_without_what_was_cached() -> None:
    message = write_answer(answer({"content": "hi"}), "msg_9")
    assert message["id"] == "msg_9"
    assert message["content"] == [{"type": "text", "text": "hi"}]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"] == {
        "input_tokens": 20,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 100,
        "output_tokens": 9,
    }
    from anthropic.types import Message  # the SDK takes a second to import

    Message.model_validate(message, strict=True)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
    ],
)
def test_why_it_stopped(finish: str, reason: str) -> None:
    assert write_answer(answer({"content": "x"}, finish), "m")["stop_reason"] == reason


def test_calls_and_thinking_of_another_provider() -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]
    message = write_answer(answer({"content": None, "reasoning_content": "hm", "tool_calls": calls}), "m")
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}},
    ]


def test_a_message_there_and_back() -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
            {"type": "text", "text": "b"},
        ],
        "stop_reason": "stop_sequence",
        "stop_sequence": "END",
        "usage": {
            "input_tokens": 20,
            "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 100,
            "output_tokens": 9,
            "service_tier": "standard",
        },
    }
    assert write_answer(read_answer(message, 5), "other") == message


def through(raw: bytes) -> list[JSON | None]:
    """The chunks of the stream that the writer makes of the chunks of `raw`."""
    writer = EventWriter("msg_9")
    chunks = read(AnthropicReader("m", 5, "chatcmpl-1"), raw)
    written = b"".join(writer.event(Delta(b"", chunk)) for chunk in chunks if chunk is not None) + writer.end()
    return read(AnthropicReader("m", 5, "chatcmpl-1"), written)


def test_a_stream_there_and_back_says_the_same() -> None:
    assert assembled(through(FULL)) == assembled(read(AnthropicReader("m", 5, "chatcmpl-1"), FULL))


def test_pieces_of_parallel_calls_that_come_in_turns_keep_their_call() -> None:
    writer = EventWriter("msg_9")

    def chunk(*calls: JSON, finish: str | None = None) -> Delta:
        return Delta(b"", {"choices": [{"index": 0, "delta": {"tool_calls": list(calls)}, "finish_reason": finish}]})

    begin = [{"index": i, "id": f"c{i}", "function": {"name": f"f{i}", "arguments": ""}} for i in (0, 1)]
    more = [{"index": i, "function": {"arguments": f'{{"n":{i}}}'}} for i in (0, 1)]
    raw = b"".join(map(writer.event, (chunk(*begin), chunk(*more), chunk(finish="tool_calls")))) + writer.end()
    assert raw.count(b"content_block_start\n") == raw.count(b"content_block_stop\n") == 2
    assert b'"index":0,"delta":{"type":"input_json_delta","partial_json":"{\\"n\\":0}"}' in raw
    assert b'"index":1,"delta":{"type":"input_json_delta","partial_json":"{\\"n\\":1}"}' in raw


def test_a_stream_without_any_chunk_is_still_a_message() -> None:
    assert [event.split(b"\n")[0] for event in EventWriter("m").end().split(b"\n\n")[:-1]] == [
        b"event: message_start",
        b"event: ping",
        b"event: message_delta",
        b"event: message_stop",
    ]


def test_an_error_is_an_event_with_our_code() -> None:
    raw = EventWriter("m").error(StockyardError("provider_error", "gone"), "req_1", "tr_1")
    assert raw.startswith(b'event: error\ndata: {"type":"error","error":{"code":"provider_error"')


def rewritten(raw: bytes, change: Any) -> bytes:
    """The stream as it leaves when `change` was told of each chunk and gave its new text, or `None`."""
    reader = AnthropicReader("m", 5, "chatcmpl-1", native=True)
    writer = NativeRewriter(reader)
    out = b""
    for delta in reader.feed(raw):
        choices = (delta.obj or {}).get("choices") or []
        text = change(choices[0]) if choices else None
        if delta.obj is None and delta.raw == b"data: [DONE]\n\n":
            continue
        if text is None:
            out += delta.raw
        else:
            choices[0]["delta"]["content"] = text
            out += writer.rewritten(delta)
    return out + writer.end()


def test_only_the_changed_event_of_a_native_stream_is_rewritten() -> None:
    raw = start() + thought(0, "sig", "h") + texts(1, "a key", " b") + end("end_turn")
    out = rewritten(raw, lambda choice: "a [key]" if choice["delta"].get("content") == "a key" else None)
    assert out.replace(b"a [key]", b"a key") == raw


def test_text_that_was_held_back_leaves_as_a_block_at_the_end() -> None:
    raw = start() + texts(0, "held") + call(1, "toolu_1", "f", "{}") + end("tool_use")

    def change(choice: JSON) -> str | None:
        if choice["finish_reason"]:
            return "released"
        return "" if choice["delta"].get("content") == "held" else None

    said = assembled(read(AnthropicReader("m", 5, "c"), rewritten(raw, change)))
    assert said["choices"][0]["message"]["content"] == "released"
    assert said["choices"][0]["message"]["tool_calls"][0]["id"] == "toolu_1"
    assert b"held" not in rewritten(raw, change)


def test_what_was_held_back_of_the_last_block_goes_before_its_end() -> None:
    raw = start() + texts(0, "one ", "two") + end("end_turn")
    texts_said = {"one ": "on", "two": ""}

    def change(choice: JSON) -> str | None:
        return "e two" if choice["finish_reason"] else texts_said.get(choice["delta"].get("content"))

    out = rewritten(raw, change)
    assert out.count(b"event: content_block_start") == 1
    assert out.index(b'"text":"e two"') < out.index(b"event: content_block_stop") < out.index(b"event: message_delta")
    assert assembled(read(AnthropicReader("m", 5, "c"), out))["choices"][0]["message"]["content"] == "one two"


def test_arguments_that_were_held_back_go_to_their_own_call() -> None:
    raw = start() + call(0, "toolu_1", "f", '{"a":', "1}") + call(1, "toolu_2", "g", '{"b":', "2}") + end("tool_use")
    reader = AnthropicReader("m", 5, "chatcmpl-1", native=True)
    writer = NativeRewriter(reader)
    out, held = b"", {0: "", 1: ""}
    for delta in reader.feed(raw):
        if delta.obj is None:
            out += b"" if delta.raw == b"data: [DONE]\n\n" else delta.raw
            continue
        [choice] = delta.obj["choices"]
        calls = choice["delta"].get("tool_calls") or []
        if choice["finish_reason"]:
            choice["delta"]["tool_calls"] = [{"index": n, "function": {"arguments": t}} for n, t in held.items()]
        elif calls and calls[0]["function"]["arguments"]:
            held[calls[0]["index"]] += calls[0]["function"]["arguments"]
            calls[0]["function"]["arguments"] = ""
        else:
            out += delta.raw
            continue
        out += writer.rewritten(delta)
    out += writer.end()
    # As the SDK puts them together: pieces by the index of their block, the last one's before its end.
    pieces = {0: "", 1: ""}
    for event in NamedEvents().feed(out):
        if event.obj is not None and event.obj["type"] == "content_block_delta":
            pieces[event.obj["index"]] += event.obj["delta"]["partial_json"]
    assert pieces == {0: '{"a":1}', 1: '{"b":2}'}
    assert out.rindex(b'{\\"b\\":2}') < out.rindex(b"event: content_block_stop")


def test_text_goes_on_in_the_open_block_when_the_stream_breaks() -> None:
    raw = (
        start()
        + texts(0, "held")[: -len(b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n')]
    )
    reader = AnthropicReader("m", 5, "chatcmpl-1", native=True)
    reader.feed(raw)
    chunk = {"choices": [{"index": 0, "delta": {"content": "released"}, "finish_reason": None}]}
    out = NativeRewriter(reader).rewritten(Delta(b"", chunk))
    assert out == (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"released"}}\n\n'
    )


@pytest.mark.parametrize("made", [False, True])
def test_an_answer_that_a_module_ends_has_the_ends_of_its_block_and_message(made: bool) -> None:
    reader = AnthropicReader("m", 5, "chatcmpl-1", native=True)
    writer = NativeRewriter(reader)
    raw = start() + texts(0, "said ", "and not said") + end("end_turn")
    head = raw[: raw.index(b"and not said")].rindex(b"event: ")
    out = b""
    for delta in reader.feed(raw[:head] if made else raw):
        if not made and any(choice.text for choice in delta.choices()):
            delta.end("length")
            out += writer.rewritten(delta)
            break
        out += delta.raw
    if made:
        out += writer.rewritten(last_event(delta, "length"))
    out += writer.end()
    kinds = [event.split(b"\n")[0].removeprefix(b"event: ") for event in out.split(b"\n\n")[:-1]]
    assert kinds[-4:] == [b"content_block_delta", b"content_block_stop", b"message_delta", b"message_stop"]
    whole = assembled(read(AnthropicReader("m", 5, "c"), out))["choices"][0]
    assert (whole["message"]["content"], whole["finish_reason"]) == ("said ", "length")
