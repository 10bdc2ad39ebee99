"""Chat chunks as the events of a response, checked against the types of the official SDK."""

from typing import Any

import pytest
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState

from instance.chute.answer import Delta
from instance.chute.dialects.openai_responses.call import ResponseCall
from instance.chute.dialects.openai_responses.reasoning import opened
from instance.chute.dialects.openai_responses.stream_encoder import ResponseEncoder
from instance.core.errors import StockyardError
from tests.dialects.openai_responses.streams import EVENTS, JSON, events_of, types_of
from tests.modules.exchanges import exchange


def call(**native: Any) -> ResponseCall:
    made = ResponseCall(exchange(model="m"), {"model": "m", "input": "hi", **native}, [])
    made.custom_tools = frozenset(("sql",))
    return made


def chunk(delta: JSON, finish: str | None = None, **choice: Any) -> JSON:
    return {"id": "c", "model": "big", "choices": [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]}


USAGE: JSON = {"id": "c", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}


def encoded(*chunks: JSON, made: ResponseCall | None = None) -> list[JSON]:
    encoder = ResponseEncoder(made or call(), lambda: 1_800_000_000)
    raw = b"".join(encoder.event(Delta(b"", obj)) for obj in chunks) + encoder.end()
    return events_of(raw)


def as_the_sdk_reads(events: list[JSON]) -> Any:
    """The response that the SDK's own stream puts together."""
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        state.handle_event(EVENTS.validate_python(event))
    return state._completed_response


def test_a_text_has_every_event_that_the_sdk_expects() -> None:
    events = encoded(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        USAGE,
    )
    assert types_of(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    last = events[-1]["response"]
    assert (last["status"], last["model"], last["usage"]["input_tokens"], last["usage"]["output_tokens"]) == (
        "completed",
        "big",
        3,
        2,
    )
    item = last["output"][0]
    assert item["content"][0]["text"] == "Hello"
    assert {event["item_id"] for event in events if "item_id" in event} == {item["id"]}
    assert as_the_sdk_reads(events).output_text == "Hello"


def test_thoughts_words_and_calls_are_items_of_their_own() -> None:
    events = encoded(
        chunk({"role": "assistant", "reasoning_content": "Hm"}),
        chunk(
            {
                "reasoning_content": "m.",
                "reasoning_details": [{"type": "reasoning.text", "signature": "s", "provider": "anthropic.messages"}],
            }
        ),
        chunk({"content": "On it."}),
        chunk(
            {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
        chunk(
            {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}
        ),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        chunk({}, "tool_calls"),
        USAGE,
    )
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "Hmm."}]
    assert opened(output[0]["encrypted_content"]) == [
        {"type": "reasoning.text", "signature": "s", "provider": "anthropic.messages"}
    ]
    assert [(item["call_id"], item["name"], item["arguments"]) for item in output[2:]] == [
        ("c1", "f", '{"a":1}'),
        ("c2", "g", "{}"),
    ]
    added = [event for event in events if event["type"] == "response.output_item.added"]
    done = [event for event in events if event["type"] == "response.output_item.done"]
    assert [event["output_index"] for event in added] == [0, 1, 2, 3]
    assert sorted(event["output_index"] for event in done) == [0, 1, 2, 3]
    assert [event["item"]["id"] for event in added] == [item["id"] for item in output]
    # A reader sees that the thinking is over as soon as something is said.
    assert types_of(events).index("reasoning_summary_text.done") < types_of(events).index("output_text.delta")
    sdk = as_the_sdk_reads(events)
    assert [item.type for item in sdk.output] == ["reasoning", "message", "function_call", "function_call"]


def test_a_refusal_is_a_part_of_its_own() -> None:
    events = encoded(chunk({"role": "assistant", "refusal": "I "}), chunk({"refusal": "won't."}), chunk({}, "stop"))
    assert "refusal.delta" in types_of(events)
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "I won't."}]


def test_a_custom_tools_text_comes_out_of_its_arguments() -> None:
    events = encoded(
        chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "sql", "arguments": '{"input":"SEL'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'ECT 1"}'}}]}),
        chunk({}, "tool_calls"),
    )
    assert types_of(events)[2:-1] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    item = events[-1]["response"]["output"][0]
    assert (item["type"], item["call_id"], item["input"]) == ("custom_tool_call", "c1", "SELECT 1")


def test_log_probabilities_and_citations_stay_with_their_text() -> None:
    token = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    cited = {
        "type": "url_citation",
        "url_citation": {"url": "https://x", "title": "X", "start_index": 0, "end_index": 2},
    }
    events = encoded(
        chunk({"content": "Hi"}, logprobs={"content": [token]}), chunk({"annotations": [cited]}), chunk({}, "stop")
    )
    part = events[-1]["response"]["output"][0]["content"][0]
    assert part["logprobs"] == [token]
    assert part["annotations"] == [
        {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 2}
    ]
    assert "output_text.annotation.added" in types_of(events)


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_cut_short_is_incomplete(finish: str, reason: str) -> None:
    events = encoded(chunk({"content": "Hel"}), chunk({}, finish))
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": reason}
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def test_an_answer_without_words_is_an_empty_message() -> None:
    events = encoded(chunk({"role": "assistant"}), chunk({}, "stop"))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""


def test_a_broken_stream_fails_with_what_was_said_until_then() -> None:
    encoder = ResponseEncoder(call(), lambda: 0)
    raw = encoder.event(Delta(b"", chunk({"content": "Hel"})))
    events = events_of(raw + encoder.error(StockyardError("timeout_stream", "It stopped."), "req_1", "tr_1"))
    failed, error = events[-2:]
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": "It stopped."}
    assert failed["response"]["output"][0]["content"][0]["text"] == "Hel"
    assert (error["type"], error["code"], error["trace_id"]) == ("error", "timeout_stream", "tr_1")


def test_what_was_asked_is_echoed() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    asked = call(
        instructions="Be brief.", tools=[tool], metadata={"a": "b"}, temperature=0.5, max_output_tokens=9, store=False
    )
    created = encoded(chunk({}, "stop"), made=asked)[0]["response"]
    assert created["status"] == "in_progress"
    assert created["output"] == []
    for name, value in (
        ("instructions", "Be brief."),
        ("metadata", {"a": "b"}),
        ("temperature", 0.5),
        ("max_output_tokens", 9),
        ("store", False),
    ):
        assert created[name] == value
    assert created["tools"][0]["name"] == "f"
