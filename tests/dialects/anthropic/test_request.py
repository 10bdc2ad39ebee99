from typing import Any

import pytest

from instance.chute.dialects.anthropic.request import Written, write_request
from instance.core.errors import StockyardError

JSON = dict[str, Any]
OLD = "claude-3-5-haiku-20241022"
PNG = "iVBORw0KGgo="
MARK = {"type": "ephemeral"}


def written(*messages: JSON, model: str = OLD, auto_cache: bool = False, late: Any = "top", **fields: Any) -> Written:
    req = {"model": "asked", "messages": list(messages) or [user("hi")], **fields}
    return write_request(req, model, default_max_tokens=4096, late_system=late, auto_cache=auto_cache)


def body(*messages: JSON, **options: Any) -> JSON:
    return written(*messages, **options).body


def user(content: Any) -> JSON:
    return {"role": "user", "content": content}


def system(content: Any) -> JSON:
    return {"role": "system", "content": content}


def calls(*pairs: tuple[str, str, str], content: Any = None, **more: Any) -> JSON:
    made = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in pairs]
    return {"role": "assistant", "content": content, "tool_calls": made, **more}


def result(call_id: str, content: Any, **more: Any) -> JSON:
    return {"role": "tool", "tool_call_id": call_id, "content": content, **more}


def tool(name: str, **more: Any) -> JSON:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}, **more}}


def text(value: str) -> JSON:
    return {"type": "text", "text": value}


def test_a_plain_question() -> None:
    assert body(user("hi")) == {
        "model": OLD,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [text("hi")]}],
    }


def test_two_system_messages_two_calls_and_their_results_are_one_user_message_after_the_call() -> None:
    sent = body(
        system("one"),
        {"role": "developer", "content": "two"},
        user("weather?"),
        calls(("a", "f", '{"x":1}'), ("b", "g", "")),
        result("a", "sunny"),
        result("b", [text("rain")]),
    )
    assert sent["system"] == [text("one"), text("two")]
    assert sent["messages"] == [
        {"role": "user", "content": [text("weather?")]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "sunny"},
                {"type": "tool_result", "tool_use_id": "b", "content": [text("rain")]},
            ],
        },
    ]


def test_results_come_before_what_the_user_said_with_them() -> None:
    sent = body(user("q"), calls(("a", "f", "{}")), user("and quickly"), result("a", "1"))
    assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result", "text"]


def test_adjacent_messages_of_one_role_are_merged_and_empty_texts_left_out() -> None:
    sent = body(user("a"), user(""), user("b"), {"role": "assistant", "content": "c"})
    assert sent["messages"][0]["content"] == [text("a"), text("b")]
    assert len(sent["messages"]) == 2


def test_white_space_alone_and_images_in_the_system_are_not_sent() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    made = written(system([{"type": "text", "text": "s"}, image]), user([text("a"), text(" \n")]))
    assert made.body["system"] == [text("s")]
    assert made.body["messages"] == [{"role": "user", "content": [text("a")]}]
    assert made.dropped == ["messages[0].content"]


def test_a_talk_that_does_not_begin_with_the_user() -> None:
    alone = body(system("s"))
    assert alone["messages"] == [{"role": "user", "content": [text("s")]}]
    assert "system" not in alone
    first = body({"role": "assistant", "content": "hello"}, user("hi"))
    assert [message["role"] for message in first["messages"]] == ["user", "assistant", "user"]


def test_a_late_system_message_goes_where_the_setting_says() -> None:
    talk = (system("top"), user("a"), system("late"))
    assert body(*talk)["system"] == [text("top"), text("late")]
    as_user = body(*talk, late="user")
    assert as_user["system"] == [text("top")]
    assert as_user["messages"][0]["content"] == [text("a"), text("late")]


def test_images_and_documents_in_data_and_by_url() -> None:
    blocks = body(
        user(
            [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk="}},
                {"type": "file", "file": {"file_id": "file_1"}},
            ]
        )
    )["messages"][0]["content"]
    assert [block["source"] for block in blocks] == [
        {"type": "base64", "media_type": "image/png", "data": PNG},
        {"type": "url", "url": "https://x.example/a.png"},
        {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
        {"type": "text", "media_type": "text/plain", "data": "hi"},
        {"type": "file", "file_id": "file_1"},
    ]
    assert [block["type"] for block in blocks] == ["image", "image", "document", "document", "document"]
    assert blocks[2]["title"] == "a.pdf"


def test_a_part_without_counterpart_is_named() -> None:
    made = written(user([text("x"), {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]))
    assert made.dropped == ["messages[0].content[1]"]
    assert made.body["messages"][0]["content"] == [text("x")]


def test_a_broken_data_url_is_refused_with_its_place() -> None:
    with pytest.raises(StockyardError) as caught:
        body(user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,!!"}}]))
    assert caught.value.status == 400
    assert caught.value.param == "messages[0].content[0].image_url"


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_tool_choice(choice: Any, sent: JSON) -> None:
    assert body(tools=[tool("f")], tool_choice=choice)["tool_choice"] == sent


def test_no_parallel_calls() -> None:
    off = {"tools": [tool("f")], "parallel_tool_calls": False}
    assert body(**off)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert body(**off, tool_choice="required")["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert body(**off, tool_choice="none")["tool_choice"] == {"type": "none"}


def test_tools_with_and_without_a_schema_and_those_of_the_provider() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    made = written(tools=[tool("f", description="d"), {"type": "function", "function": {"name": "g"}}, search, 5])
    empty = {"type": "object", "properties": {}}
    assert made.body["tools"] == [
        {"name": "f", "description": "d", "input_schema": empty},
        {"name": "g", "input_schema": empty},
        search,
    ]
    assert made.dropped == ["tools[3]"]


def test_what_has_no_counterpart_is_named_and_usual_values_are_not() -> None:
    made = written(
        temperature=1.7, top_p=0.5, seed=1, logit_bias={"1": 2}, n=1, logprobs=False, presence_penalty=None, user="u"
    )
    assert made.dropped == ["seed", "logit_bias"]
    assert made.body["temperature"] == 1
    assert made.body["top_p"] == 0.5
    assert made.body["metadata"] == {"user_id": "u"}


def test_stop_is_a_list_of_what_is_no_white_space() -> None:
    assert body(stop="END")["stop_sequences"] == ["END"]
    made = written(stop=["a", "\n"])
    assert made.body["stop_sequences"] == ["a"]
    assert made.dropped == ["stop"]


@pytest.mark.parametrize(("effort", "budget"), [("low", 2048), ("medium", 8192), ("high", 16384)])
def test_effort_is_a_budget_beside_what_the_answer_may_take(effort: str, budget: int) -> None:
    made = written(reasoning_effort=effort, temperature=0.3)
    assert made.body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert made.body["max_tokens"] == budget + 4096
    assert "temperature" not in made.body
    assert made.dropped == ["temperature"]


def test_a_budget_stays_below_the_callers_limit() -> None:
    made = body(reasoning_effort="high", max_completion_tokens=5000)
    assert made["max_tokens"] == 5000
    assert made["thinking"]["budget_tokens"] == 2500
    tight = written(reasoning_effort="low", max_tokens=800)
    assert "thinking" not in tight.body
    assert tight.dropped == ["reasoning_effort"]


def test_a_model_that_thinks_by_effort_gets_no_budget_and_no_sampling() -> None:
    made = written(model="claude-opus-4-7", reasoning_effort="high", temperature=0.5, top_k=4)
    assert made.body["thinking"] == {"type": "adaptive"}
    assert made.body["output_config"] == {"effort": "high"}
    assert made.body["max_tokens"] == 4096
    assert made.dropped == ["temperature", "top_k"]


def test_signatures_are_sent_back_before_the_call() -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "sig", "provider": "anthropic"},
        {"type": "reasoning.encrypted", "data": "xx", "provider": "anthropic"},
        {"type": "reasoning.text", "text": "other", "signature": "s", "provider": "gemini"},
        {"type": "reasoning.text", "text": "unsigned"},
    ]
    sent = body(
        user("q"),
        calls(("a", "f", "{}"), content="so", reasoning_content="hm", reasoning_details=details),
        result("a", "1"),
        reasoning_effort="low",
    )
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xx"},
        text("so"),
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
    ]
    assert sent["thinking"]["type"] == "enabled"


def test_pieces_of_a_streamed_thought_are_one_block_again() -> None:
    pieces = [
        {"type": "reasoning.text", "text": "a", "provider": "anthropic", "index": 0},
        {"type": "reasoning.text", "text": "b", "provider": "anthropic", "index": 0},
        {"type": "reasoning.text", "text": "", "signature": "sig", "provider": "anthropic", "index": 0},
    ]
    sent = body(user("q"), {"role": "assistant", "content": "x", "reasoning_details": pieces}, user("more"))
    assert sent["messages"][1]["content"][0] == {"type": "thinking", "thinking": "ab", "signature": "sig"}


def test_no_thinking_in_a_round_of_calls_that_began_without() -> None:
    made = written(user("q"), calls(("a", "f", "{}")), result("a", "1"), reasoning_effort="high")
    assert "thinking" not in made.body
    assert made.dropped == ["reasoning_effort"]


def test_a_schema_is_a_tool_that_must_be_called() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "my answer", "schema": schema}}
    made = written(response_format=form)
    assert made.answer_tool == "my_answer"
    assert made.body["tools"][0]["input_schema"] == schema
    assert made.body["tool_choice"] == {"type": "tool", "name": "my_answer", "disable_parallel_tool_use": True}
    beside = written(response_format=form, tools=[tool("my_answer")], tool_choice="auto")
    assert beside.answer_tool == "my_answer_"
    assert "tool_choice" not in beside.body
    assert "my_answer_" in beside.body["system"][-1]["text"]


def test_a_strict_schema_is_the_apis_own_where_the_model_has_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    made = written(response_format=form, model="claude-sonnet-4-5-20250929")
    assert made.answer_tool == ""
    assert made.body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    limited = {**schema, "properties": {"a": {"type": "integer", "minimum": 0}}}
    form["json_schema"] = {"name": "x", "strict": True, "schema": limited}
    assert written(response_format=form, model="claude-sonnet-4-5-20250929").answer_tool == "x"


def test_own_parameters_pass_under_their_name_and_in_the_providers_object() -> None:
    made = written(top_k=5, container="c", anthropic={"thinking": {"type": "enabled", "budget_tokens": 3000}, "new": 1})
    assert made.body["container"] == "c"
    assert made.body["new"] == 1
    assert made.body["thinking"]["budget_tokens"] == 3000
    assert made.body["max_tokens"] == 3000 + 4096
    assert made.dropped == ["top_k"], "thinking excludes it"


def test_marks_for_the_cache_stay_where_they_stood() -> None:
    sent = body(
        system([{**text("s"), "cache_control": MARK}]),
        user([{**text("a"), "cache_control": MARK}]),
        calls(("a", "f", "{}")),
        result("a", "1", cache_control=MARK),
        tools=[{**tool("f"), "cache_control": MARK}],
        auto_cache=True,
    )
    assert sent["system"][0]["cache_control"] == MARK
    assert sent["messages"][0]["content"][0]["cache_control"] == MARK
    assert sent["messages"][2]["content"][0]["cache_control"] == MARK
    assert sent["tools"][0]["cache_control"] == MARK
    assert "cache_control" not in sent["messages"][1]["content"][0]


def test_auto_cache_marks_tools_system_and_the_last_but_one_user_message() -> None:
    talk = (system("s"), user("a"), {"role": "assistant", "content": "b"}, user("c"))
    sent = body(*talk, tools=[tool("f"), tool("g")], auto_cache=True)
    assert [("cache_control" in one) for one in sent["tools"]] == [False, True]
    assert sent["system"][-1]["cache_control"] == MARK
    marked = [("cache_control" in message["content"][-1]) for message in sent["messages"]]
    assert marked == [True, False, False]
    assert "cache_control" not in str(body(*talk, auto_cache=False))


def test_the_callers_request_is_left_as_it_is() -> None:
    req: JSON = {"messages": [system("s"), user([text("a")]), user("b")], "tools": [tool("f")], "max_tokens": 5}
    before = repr(req)
    write_request(req, OLD, default_max_tokens=1, auto_cache=True)
    assert repr(req) == before


def test_another_providers_call_id_is_replaced_in_call_and_result_alike() -> None:
    sent = body(user("q"), calls(("a/b+c=", "f", "{}")), result("a/b+c=", "1"))
    call, answer = sent["messages"][1]["content"][0], sent["messages"][2]["content"][0]
    assert call["id"] == answer["tool_use_id"]
    assert call["id"].replace("_", "").isalnum()


def test_arguments_that_are_no_json_are_kept_as_text() -> None:
    sent = body(user("q"), calls(("a", "f", '{"x": ')), result("a", "1"))
    assert sent["messages"][1]["content"][0]["input"] == {"arguments": '{"x": '}


def test_an_answer_to_continue_does_not_end_in_white_space() -> None:
    sent = body(user("q"), {"role": "assistant", "content": "The answer is \n"})
    assert sent["messages"][-1]["content"] == [text("The answer is")]
