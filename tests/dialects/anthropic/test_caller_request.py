from typing import Any

import pytest

from instance.chute.dialects.anthropic.caller_request import check, is_sendable, native_only, read_request
from instance.chute.dialects.anthropic.foreign_thinking import foreign_block
from instance.chute.dialects.anthropic.request import write_request
from instance.core.errors import StockyardError
from instance.core.settings import LimitSettings

JSON = dict[str, Any]
MARK = {"type": "ephemeral"}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}


def text(value: str, **more: Any) -> JSON:
    return {"type": "text", "text": value, **more}


def asked(*messages: JSON, **fields: Any) -> JSON:
    return {"model": "m", "max_tokens": 100, "messages": list(messages) or [user("hi")], **fields}


def user(*blocks: Any) -> JSON:
    return {"role": "user", "content": blocks[0] if len(blocks) == 1 and isinstance(blocks[0], str) else list(blocks)}


def assistant(*blocks: JSON) -> JSON:
    return {"role": "assistant", "content": list(blocks)}


CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


def test_a_plain_question() -> None:
    assert read_request(asked(system="be kind", stop_sequences=["a"], temperature=0.5, top_k=3)) == {
        "model": "m",
        "max_tokens": 100,
        "temperature": 0.5,
        "top_k": 3,
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
        "stop": ["a"],
    }


def test_a_round_of_tools() -> None:
    failed = {**RESULT, "tool_use_id": "toolu_2", "content": [text("no"), PNG], "is_error": True}
    read = read_request(
        asked(
            user("q"),
            assistant(text("so"), CALL, {**CALL, "id": "toolu_2"}),
            user(text("and?"), RESULT, failed),
            tools=[TOOL],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
        )
    )
    call = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    assert read["messages"][1:] == [
        {"role": "assistant", "content": "so", "tool_calls": [call, {**call, "id": "toolu_2"}]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "1"},
        {
            "role": "tool",
            "tool_call_id": "toolu_2",
            "content": [
                text("no"),
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            ],
            "anthropic": {"is_error": True},
        },
        {"role": "user", "content": "and?"},
    ]
    function = {"name": "f", "description": "d", "parameters": TOOL["input_schema"]}
    assert read["tools"] == [{"type": "function", "function": function}]
    assert read["tool_choice"] == "required"
    assert read["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("choice", "canonical"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "any"}, "required"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tool_choice(choice: JSON, canonical: Any) -> None:
    assert read_request(asked(tools=[TOOL], tool_choice=choice))["tool_choice"] == canonical


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 30000}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "disabled"}}, None),
        ({}, None),
    ],
)
def test_thinking_is_an_effort_and_kept_as_it_was(fields: JSON, effort: str | None) -> None:
    read = read_request(asked(**fields))
    assert read.get("reasoning_effort") == effort
    assert read.get("anthropic", {}) == fields


EVERYTHING = asked(
    user(text("a", cache_control=MARK), PNG),
    assistant(
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xx"},
        text("so"),
        {**CALL, "cache_control": MARK},
    ),
    user({**RESULT, "is_error": True, "cache_control": MARK}, text("go on")),
    assistant(text("one"), CALL, text("two")),
    user(
        RESULT,
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "t",
            "context": "c",
            "citations": {"enabled": True},
            "cache_control": MARK,
        },
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}},
        {
            "type": "search_result",
            "source": "https://x.example",
            "title": "t",
            "content": [text("found")],
        },
    ),
    system=[text("s", cache_control=MARK), text("t")],
    tools=[{**TOOL, "cache_control": MARK}, {"type": "web_search_20250305", "name": "web_search"}],
    tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    stop_sequences=["END"],
    temperature=0.5,
    top_k=5,
    top_p=0.9,
    metadata={"user_id": "u"},
    service_tier="standard_only",
    container="c",
    stream=True,
)


def test_there_and_back_nothing_is_lost() -> None:
    written = write_request(read_request(EVERYTHING), "m", default_max_tokens=1)
    expected = {
        **EVERYTHING,
        "messages": [
            {**one, "content": [text(one["content"])] if isinstance(one["content"], str) else one["content"]}
            for one in EVERYTHING["messages"]
        ],
    }
    assert written.body == expected
    assert written.dropped == []


def test_thinking_there_and_back() -> None:
    config = {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}}
    body = asked(user("q"), thinking={"type": "adaptive"}, output_config=config, max_tokens=9000)
    written = write_request(read_request(body), "claude-opus-4-7", default_max_tokens=1)
    assert written.body["thinking"] == {"type": "adaptive"}
    assert written.body["output_config"] == config
    assert written.answer_tool == ""
    assert written.body["max_tokens"] == 9000


def test_another_providers_thinking_is_unpacked_and_keeps_the_body_from_anthropic() -> None:
    detail = {"type": "reasoning.encrypted", "data": "gAAA", "provider": "openai.responses"}
    body = asked(user("q"), assistant(foreign_block(detail), text("a")), user("b"))
    assert read_request(body)["messages"][1]["reasoning_details"] == [detail]
    assert not is_sendable(body)
    unsigned = asked(user("q"), assistant({"type": "thinking", "thinking": "t", "signature": ""}, text("a")))
    assert read_request(unsigned)["messages"][1] == {"role": "assistant", "content": "a", "reasoning_content": "t"}
    assert not is_sendable(unsigned)
    assert not is_sendable(asked(user("q"), assistant({**CALL, "id": "a+b"})))
    assert is_sendable(EVERYTHING)


def test_what_only_anthropic_can_serve_is_named() -> None:
    assert native_only(asked(tools=[TOOL])) == ""
    assert native_only(asked(tools=[TOOL, {"type": "web_search_20250305", "name": "w"}])) == "tools[1]"
    assert native_only(asked(mcp_servers=[{"url": "x"}])) == "mcp_servers"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (asked(messages=[]), "messages"),
        (asked(messages="x"), "messages"),
        (asked(messages=[5]), "messages[0]"),
        (asked({"role": "tool", "content": "x"}), "messages[0].role"),
        (asked({"role": "user"}), "messages[0].content"),
        (asked(user(5)), "messages[0].content[0]"),
        (asked(user({"type": "text"})), "messages[0].content[0].text"),
        (asked(user({"type": "image"})), "messages[0].content[0].source"),
        (asked(user({"type": "tool_result"})), "messages[0].content[0].tool_use_id"),
        (asked(assistant({"type": "tool_use"})), "messages[0].content[0]"),
        (asked(tools=5), "tools"),
        (asked(tools=[5]), "tools[0]"),
        (asked(stream="yes"), "stream"),
        (asked(max_tokens="many"), "max_tokens"),
        (asked(system=[{"type": "text"}]), "system[0].text"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(body: JSON, param: str) -> None:
    with pytest.raises(StockyardError) as caught:
        check(body, LimitSettings())
        read_request(body)
    assert caught.value.status == 400
    assert caught.value.param == param
