from typing import Any

import orjson
import pytest

from instance.chute.dialects.cohere.answer import read_chat
from instance.chute.dialects.cohere.stream import CohereReader
from instance.chute.stream import StreamBroken
from tests.dialects.streamed import assembled, read, same_wherever_cut

USAGE = {"billed_units": {"input_tokens": 5, "output_tokens": 6}, "tokens": {"input_tokens": 71, "output_tokens": 8}}
CITATION = {
    "start": 3,
    "end": 8,
    "text": "rains",
    "content_index": 0,
    "type": "TEXT_CONTENT",
    "sources": [
        {"type": "document", "id": "doc:0", "document": {"id": "doc:0", "title": "Weather", "url": "https://e.x"}}
    ],
}


def plain(obj: dict[str, Any], **more: Any) -> dict[str, Any]:
    got = read_chat(obj, "command-a", 1, "chatcmpl-1", **more)
    assert got["choices"][0].pop("logprobs", None) is None
    return got


def reader(**more: Any) -> CohereReader:
    return CohereReader("command-a", 1, "chatcmpl-1", **more)


def sse(*objs: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (obj["type"].encode(), orjson.dumps(obj)) for obj in objs)


def event(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"type": kind}
    if index is not None:
        made["index"] = index
    if message:
        made["delta"] = {"message": message}
    return made


def end(reason: str, **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": USAGE, **more}}


START = {"type": "message-start", "id": "c-1", "delta": {"message": {"role": "assistant", "content": []}}}
TEXT = [
    START,
    event("content-start", 0, content={"type": "text", "text": ""}),
    event("content-delta", 0, content={"text": "It "}),
    event("content-delta", 0, content={"text": "räins."}),
    event("citation-start", 0, citations=CITATION),
    event("citation-end", 0),
    event("content-end", 0),
    end("COMPLETE"),
]
TOOLS = [
    START,
    event("tool-plan-delta", tool_plan="I will "),
    event("tool-plan-delta", tool_plan="look."),
    event("tool-call-start", 0, tool_calls={"id": "w_1", "type": "function", "function": {"name": "weather", "arguments": ""}}),
    event("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"city": '}}),
    event("tool-call-delta", 0, tool_calls={"function": {"arguments": '"Oslo"}'}}),
    event("tool-call-end", 0),
    event("tool-call-start", 1, tool_calls={"id": "n_2", "type": "function", "function": {"name": "now", "arguments": ""}}),
    event("tool-call-end", 1),
    end("TOOL_CALL"),
]  # fmt: skip
WHOLE_TEXT = {
    "id": "c-1",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "It räins."}], "citations": [CITATION]},
    "usage": USAGE,
}
WHOLE_TOOLS = {
    "id": "c-1",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "tool_plan": "I will look.",
        "tool_calls": [
            {"id": "w_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
            {"id": "n_2", "type": "function", "function": {"name": "now", "arguments": ""}},
        ],
    },
    "usage": USAGE,
}


@pytest.mark.parametrize(("events", "whole"), [(TEXT, WHOLE_TEXT), (TOOLS, WHOLE_TOOLS)])
def test_a_stream_says_the_same_as_the_plain_answer_wherever_it_is_cut(
    events: list[dict[str, Any]], whole: dict[str, Any]
) -> None:
    chunks = same_wherever_cut(reader, sse(*events))
    expected = plain(whole)
    assert expected.pop("cohere") == {"billed_units": USAGE["billed_units"]}
    assert chunks[-2] is not None
    assert chunks[-2]["cohere"] == {"billed_units": USAGE["billed_units"]}
    assert assembled(chunks) == expected


def test_usage_is_of_all_tokens_not_of_the_billed_ones() -> None:
    assert plain(WHOLE_TEXT)["usage"] == {"prompt_tokens": 71, "completion_tokens": 8, "total_tokens": 79}
    cached = plain({**WHOLE_TEXT, "usage": {**USAGE, "cached_tokens": 30}})["usage"]
    assert cached["prompt_tokens_details"] == {"cached_tokens": 30}


def test_citations_are_annotations_with_the_right_offsets() -> None:
    message = plain(WHOLE_TEXT)["choices"][0]["message"]
    (annotation,) = message["annotations"]
    cited = annotation["url_citation"]
    assert message["content"][cited["start_index"] : cited["end_index"]] == "räins"
    assert (cited["url"], cited["title"], annotation["source"]) == ("https://e.x", "Weather", "doc:0")
    assert message["cohere"] == {"citations": [CITATION]}
    assert "annotations" not in plain(WHOLE_TEXT, citations=False)["choices"][0]["message"]
    assert "annotations" not in assembled(read(reader(citations=False), sse(*TEXT)))["choices"][0]["message"]


def test_citations_of_a_later_block_and_of_the_plan() -> None:
    content = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "Yes. "},
        {"type": "text", "text": "It rains."},
    ]
    later = {**CITATION, "content_index": 2}
    plan = {**CITATION, "type": "PLAN"}
    message = plain({**WHOLE_TEXT, "message": {"content": content, "citations": [later, plan]}})["choices"][0][
        "message"
    ]
    (annotation,) = message["annotations"]
    cited = annotation["url_citation"]
    assert message["content"][cited["start_index"] : cited["end_index"]] == "rains"
    assert message["reasoning_content"] == "hm"


def test_thinking_can_be_hidden() -> None:
    assert "reasoning_content" not in plain(WHOLE_TOOLS, reasoning=False)["choices"][0]["message"]
    chunks = read(reader(reasoning=False), sse(*TOOLS))
    assert "reasoning_content" not in assembled(chunks)["choices"][0]["message"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("COMPLETE", "stop"), ("STOP_SEQUENCE", "stop"), ("MAX_TOKENS", "length"), ("TOOL_CALL", "tool_calls")],
)
def test_stop_reasons(reason: str, expected: str) -> None:
    assert plain({**WHOLE_TEXT, "finish_reason": reason})["choices"][0]["finish_reason"] == expected
    assert assembled(read(reader(), sse(*TEXT[:-1], end(reason))))["choices"][0]["finish_reason"] == expected


@pytest.mark.parametrize(("reason", "status"), [("ERROR", 502), ("TIMEOUT", 504)])
def test_an_answer_that_failed_ends_in_an_error(reason: str, status: int) -> None:
    failing = reader()
    chunks = [one.obj for one in failing.feed(sse(*TEXT[:3], end(reason, error="no more")))]
    assert chunks[-1] == {"error": {"message": "no more", "status": status, "code": None}}
    assert not failing.done


def test_cohere_says_its_own_id_at_once() -> None:
    ids: list[str] = []
    reader(first_id=ids.append).feed(sse(START))
    assert ids == ["c-1"]


def test_a_stream_that_breaks_off_has_no_end() -> None:
    cut_off = reader()
    cut_off.feed(sse(*TEXT[:4]))
    assert cut_off.close() == []
    assert not cut_off.done


@pytest.mark.parametrize("obj", [{}, {"message": {"content": [{"type": "text"}]}}, {"message": {"tool_calls": [{}]}}])
def test_what_is_no_answer_is_said_to_be_none(obj: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        plain(obj)
    with pytest.raises(StreamBroken):
        reader().feed(b"nonsense\n\n")


def test_an_event_that_is_none_breaks_the_stream_after_the_good_ones() -> None:
    broken = reader()
    assert len(broken.feed(sse(*TEXT[:3], event("content-delta", 0, contents={})))) == 1
    with pytest.raises(StreamBroken):
        broken.feed(sse(*TEXT[3:]))
    with pytest.raises(StreamBroken):
        reader().feed(sse(event("tool-call-start", 0, tool_calls={"id": "a"})))
