"""Answers and streams of a provider that speaks Responses: what the modules see, and what they changed written back."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from openai.types.responses import Response

from instance.chute.answer import Delta
from instance.chute.delta_text import last_event
from instance.chute.dialects.openai_responses.call import call_of
from instance.chute.dialects.openai_responses.input_items import as_items
from instance.chute.dialects.openai_responses.native_answer import chat_completion, with_message
from instance.chute.dialects.openai_responses.native_request import rewritten_request
from instance.chute.dialects.openai_responses.native_rewriter import NativeRewriter
from instance.chute.dialects.openai_responses.native_stream import NativeReader
from instance.chute.dialects.openai_responses.operation import Responses
from instance.chute.dialects.openai_responses.request import to_chat
from instance.chute.stream import StreamBroken
from instance.core.settings import LimitSettings
from tests.dialects.openai_responses.streams import JSON, answer, events_of, native_events, response, sse, types_of
from tests.dialects.streamed import assembled, read, same_wherever_cut
from tests.modules.exchanges import exchange

DETAILS = [{"type": "reasoning.encrypted", "data": "blob", "provider": "openai.responses"}]
CHAT_MESSAGE: JSON = {
    "role": "assistant",
    "content": "Hello, wörld",
    "reasoning_content": "Greet first.",
    "reasoning_details": DETAILS,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    ],
}


def reader(made: list[str] | None = None) -> NativeReader:
    return NativeReader(made.append if made is not None else lambda _: None)


def test_a_whole_answer_is_a_chat_completion_to_the_modules() -> None:
    chat = chat_completion(answer())
    assert chat["choices"] == [{"index": 0, "message": CHAT_MESSAGE, "logprobs": None, "finish_reason": "tool_calls"}]
    assert (chat["usage"]["prompt_tokens"], chat["usage"]["completion_tokens"]) == (10, 6)
    assert chat["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    assert chat["usage"]["completion_tokens_details"]["reasoning_tokens"] == 2


def test_a_stream_is_the_same_chat_completion_wherever_it_is_cut() -> None:
    chunks = same_wherever_cut(reader, sse(*native_events()))
    streamed = assembled(chunks)
    assert streamed["choices"][0]["message"] == CHAT_MESSAGE
    assert streamed["choices"][0]["finish_reason"] == "tool_calls"
    assert streamed["usage"] == chat_completion(answer())["usage"]


def test_lines_may_end_as_they_like_and_comments_are_skipped() -> None:
    raw = b": hello\n\n" + sse(*native_events())
    assert read(reader(), raw.replace(b"\n", b"\r\n")) == read(reader(), sse(*native_events()))


def test_the_response_id_is_told_as_soon_as_it_is_known() -> None:
    made: list[str] = []
    reader(made).feed(sse(native_events()[0]))
    assert made == [response()["id"]]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None},
        {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow down"}},
        {
            "type": "response.failed",
            "response": response("failed", error={"code": "rate_limit_exceeded", "message": "slow down"}),
        },
    ],
)
def test_a_reported_error_is_an_error_chunk(event: JSON) -> None:
    (chunk,) = read(reader(), sse(event))
    assert chunk is not None
    assert (chunk["error"]["status"], chunk["error"]["message"]) == (429, "slow down")


@pytest.mark.parametrize(
    "junk",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b'data: {"a": 1}\n\n',
        b"<html>\n\n",
        b'data: {"type": "response.completed"}\n\n',
    ],
)
def test_what_is_none_of_the_dialect_breaks_the_stream_after_the_good_events(junk: bytes) -> None:
    broken = reader()
    good = broken.feed(sse(*native_events()[:2]) + junk)
    assert len(good) == 2
    with pytest.raises(StreamBroken):
        broken.feed(b"")


def through(change: Callable[[Delta], None], events: list[JSON] | None = None) -> bytes:
    """The stream as it leaves when a module does `change` to each chunk."""
    rewriter = NativeRewriter()
    out = b""
    for delta in reader().feed(sse(*(events or native_events()))):
        if delta.obj is not None and delta.obj["choices"]:
            change(delta)
            out += rewriter.take(delta)
    return out + rewriter.end()


def test_nothing_changed_is_byte_for_byte() -> None:
    assert through(lambda delta: None) == sse(*native_events())


def every_text(events: list[JSON]) -> list[str]:
    """All that the stream says of the message's text: in pieces, and whole in each event that repeats it."""
    pieces = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    found = [pieces]
    for event in events:
        kind = event["type"]
        if kind == "response.output_text.done":
            found.append(event["text"])
        elif kind == "response.content_part.done":
            found.append(event["part"]["text"])
        elif kind == "response.output_item.done" and event["item"]["type"] == "message":
            found.append(event["item"]["content"][0]["text"])
        elif kind == "response.completed":
            found.append(event["response"]["output"][1]["content"][0]["text"])
    return found


def test_a_changed_piece_is_changed_wherever_the_text_is_repeated() -> None:
    def shout(delta: Delta) -> None:
        for choice in delta.choices():
            if choice.text:
                choice.text = choice.text.upper()

    events = events_of(through(shout))
    assert every_text(events) == ["HELLO, WÖRLD"] * 5
    assert types_of(events) == [event["type"].removeprefix("response.") for event in native_events()]


def test_text_held_until_the_end_comes_before_the_events_that_end_it() -> None:
    held: list[str] = []

    def hold(delta: Delta) -> None:
        assert delta.obj is not None
        choice = delta.obj["choices"][0]
        if choice["delta"].get("content"):
            held.append(choice["delta"].pop("content"))
        if choice["finish_reason"]:
            choice["delta"]["content"] = "".join(held).replace("wörld", "[SECRET]")

    events = events_of(through(hold))
    assert every_text(events) == ["Hello, [SECRET]"] * 5
    kinds = types_of(events)
    assert kinds.index("output_text.delta") < kinds.index("output_text.done")
    assert kinds[-1] == "completed"
    assert kinds.count("function_call_arguments.done") == 1


def test_arguments_and_thoughts_that_were_changed_are_changed_everywhere() -> None:
    def redact(delta: Delta) -> None:
        assert delta.obj is not None
        chat = delta.obj["choices"][0]["delta"]
        if chat.get("reasoning_content"):
            chat["reasoning_content"] = "*"
        for call in chat.get("tool_calls", ()):
            call["function"]["arguments"] = call["function"]["arguments"].replace("Oslo", "Rome")

    raw = through(redact)
    assert b"Oslo" not in raw
    assert b"Greet" not in raw
    last = events_of(raw)[-1]["response"]
    assert last["output"][0]["summary"][0]["text"] == "**"
    assert last["output"][2]["arguments"] == '{"city":"Rome"}'


def ended_early(made: bool) -> list[JSON]:
    """The events of a stream that a module ends with its first text: in the event itself, or by one that it `made`."""
    rewriter = NativeRewriter()
    out = b""
    for delta in reader().feed(sse(*native_events())):
        text = next((choice.text for choice in delta.choices()), "")
        if text and not made:
            delta.end("length")
        out += rewriter.take(delta)
        if text:
            break
    if made:
        out += rewriter.take(last_event(delta, "length"))
    return events_of(out + rewriter.end())


@pytest.mark.parametrize("made", [False, True])
def test_an_answer_that_a_module_ends_has_all_its_ends(made: bool) -> None:
    events = ended_early(made)
    assert types_of(events)[-4:] == ["output_text.done", "content_part.done", "output_item.done", "incomplete"]
    last = events[-1]["response"]
    assert last["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["type"] for item in last["output"]] == ["reasoning", "message"]
    assert last["output"][1]["content"][0]["text"] == events[-4]["text"] == "Hello, "
    assert last["output"][1]["status"] == "incomplete"


def test_text_released_when_the_stream_broke_off_still_leaves() -> None:
    rewriter = NativeRewriter()
    out = b""
    for delta in reader().feed(sse(*native_events()[:13])):
        assert delta.obj is not None
        held = delta.obj["choices"][0]["delta"].pop("content", None)
        out += rewriter.take(delta)
        assert held is None or b'"delta":"Hello' not in out
    out += rewriter.take(Delta(b"", {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]}))
    assert (
        "".join(event["delta"] for event in events_of(out) if event["type"] == "response.output_text.delta") == "Hello"
    )


def test_a_changed_whole_answer_keeps_everything_else() -> None:
    changed: JSON = orjson.loads(orjson.dumps(CHAT_MESSAGE))
    changed["content"] = "Hello, [SECRET]"
    changed["tool_calls"][0]["function"]["arguments"] = '{"city":"Rome"}'
    made = with_message(answer(), changed)
    assert made["output"][1]["content"][0]["text"] == "Hello, [SECRET]"
    assert made["output"][2]["arguments"] == '{"city":"Rome"}'
    assert made["output"][0] == answer()["output"][0]
    assert {**made, "output": []} == {**answer(), "output": []}
    Response.model_validate(made)


def changed_request(native: JSON, change: Callable[[JSON], Any]) -> JSON | None:
    items = as_items(native["input"])
    req = to_chat(native, items)[0]
    change(req)
    return rewritten_request(native, items, req)


NATIVE: JSON = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "my key is s3cret"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "blob"},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "ok"},
    ],
    "tools": [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {}}],
    "max_output_tokens": 50,
    "include": ["reasoning.encrypted_content"],
}


def test_a_changed_message_is_written_back_and_the_others_keep_their_items() -> None:
    def redact(req: JSON) -> None:
        req["messages"][1] = {"role": "user", "content": "my key is [SECRET]"}

    made = changed_request(NATIVE, redact)
    assert made is not None
    assert made["input"][0]["content"] == "my key is [SECRET]"
    assert made["input"][1:] == NATIVE["input"][1:]
    assert {**made, "input": []} == {**NATIVE, "input": []}


def test_changed_instructions_and_parameters_go_to_their_places() -> None:
    def change(req: JSON) -> None:
        req["messages"][0] = {"role": "system", "content": "Be kind."}
        req["max_completion_tokens"] = 10
        del req["max_tokens"]
        req["reasoning_effort"] = "low"
        req["response_format"] = {"type": "json_object"}
        del req["tools"]

    made = changed_request(NATIVE, change)
    assert made is not None
    assert (made["instructions"], made["max_output_tokens"]) == ("Be kind.", 10)
    assert made["reasoning"] == {"effort": "low"}
    assert made["text"] == {"format": {"type": "json_object"}}
    assert made["tools"] == [{"type": "web_search"}]
    assert made["input"] == NATIVE["input"]


def test_a_message_put_in_front_comes_first() -> None:
    made = changed_request(NATIVE, lambda req: req["messages"].insert(1, {"role": "system", "content": "Context."}))
    assert made is not None
    assert made["instructions"] == "Be brief."
    assert made["input"][0] == {"type": "message", "role": "system", "content": "Context."}
    assert made["input"][1:] == NATIVE["input"]


def test_a_change_without_a_place_in_responses_cannot_be_written_back() -> None:
    assert changed_request(NATIVE, lambda req: req.update(n=2)) is None


def test_what_a_changed_output_showed_is_not_sent_beside_it() -> None:
    native: JSON = {
        "model": "m",
        "input": [
            {"type": "function_call", "call_id": "c1", "name": "shot", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [
                    {"type": "input_text", "text": "the s3cret"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
                ],
            },
        ],
    }
    made = changed_request(native, lambda req: req["messages"][1].update(content="the [SECRET]"))
    assert made is not None
    assert "s3cret" not in str(made)
    assert made["input"][0] == native["input"][0]
    assert made["input"][1] == {"type": "function_call_output", "call_id": "c1", "output": "the [SECRET]"}
    assert made["input"][2]["content"][1]["type"] == "input_image"


def test_a_changed_turn_keeps_its_thoughts_and_its_custom_calls() -> None:
    native: JSON = {
        "model": "m",
        "input": [
            {"role": "user", "content": "go"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "blob"},
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "sql", "input": "SELECT 's3cret'"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "s3cret"},
        ],
        "tools": [{"type": "custom", "name": "sql"}],
    }

    def redact(req: JSON) -> None:
        function = req["messages"][1]["tool_calls"][0]["function"]
        function["arguments"] = function["arguments"].replace("s3cret", "*")
        req["messages"][2]["content"] = "*"

    made = changed_request(native, redact)
    assert made is not None
    assert made["input"] == [
        native["input"][0],
        native["input"][1],
        {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": "SELECT '*'"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "*"},
    ]


def test_what_was_stored_goes_with_a_request_of_which_only_a_parameter_was_changed() -> None:
    x = exchange()
    operation = x.operation = Responses()
    x.raw = orjson.dumps({"model": "m", "input": "two", "previous_response_id": "resp_1"})
    operation.take(x, LimitSettings())
    call = call_of(x)
    call.history = [{"type": "message", "role": "user", "content": "one", "id": "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV_0"}]
    call.resolved = True
    operation._translate(x, call)
    x.req["max_tokens"] = 5
    x.change()
    found = operation.native_body(x, "other")
    assert found is not None
    assert found[1]["model"] == "other"
    assert found[1]["max_output_tokens"] == 5
    assert "previous_response_id" not in found[1]
    assert [item["content"] for item in found[1]["input"]] == ["one", "two"]
