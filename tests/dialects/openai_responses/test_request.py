"""A Responses request as chat: what the model is asked, and what only a provider of Responses could do."""

from typing import Any

import pytest

from instance.chute.dialects.openai_responses.input_items import as_items
from instance.chute.dialects.openai_responses.request import to_chat
from instance.core.errors import StockyardError

JSON = dict[str, Any]


def translated(**native: Any) -> JSON:
    body = {"model": "m", **native}
    return to_chat(body, as_items(body["input"]))[0]


def messages(*items: JSON) -> list[JSON]:
    found: list[JSON] = translated(input=list(items))["messages"]
    return found


def native_only(**native: Any) -> tuple[str, str] | None:
    body = {"model": "m", "input": "hi", **native}
    return to_chat(body, as_items(body["input"]))[1].native_only


def test_a_string_is_a_user_message_after_the_instructions() -> None:
    assert translated(input="hi", instructions="Be brief.")["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]


def test_parts_become_chats_parts_and_a_lone_text_a_string() -> None:
    audio = {"data": "AAA=", "format": "wav"}
    assert messages(
        {"role": "developer", "content": [{"type": "input_text", "text": "Rules."}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look:"},
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
                {"type": "input_audio", "input_audio": audio},
            ],
        },
    ) == [
        {"role": "system", "content": "Rules."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
                {"type": "input_audio", "input_audio": audio},
            ],
        },
    ]


def test_what_an_assistant_thought_said_and_called_is_one_message_and_outputs_are_tool_messages() -> None:
    assert messages(
        {"role": "user", "content": "Weather in Oslo and Rome?"},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Two calls."}],
            "encrypted_content": "blob",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "One moment.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Oslo"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"city":"Rome"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "sun"}]},
    ) == [
        {"role": "user", "content": "Weather in Oslo and Rome?"},
        {
            "role": "assistant",
            "content": "One moment.",
            "reasoning_content": "Two calls.",
            "reasoning_details": [{"type": "reasoning.encrypted", "data": "blob", "provider": "openai.responses"}],
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
                {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": "sun"},
    ]


def test_two_answers_without_calls_stay_two_messages() -> None:
    assert messages({"role": "assistant", "content": "one"}, {"role": "assistant", "content": "two"}) == [
        {"role": "assistant", "content": "one"},
        {"role": "assistant", "content": "two"},
    ]


def test_words_after_a_call_stay_in_front_of_its_output() -> None:
    made = messages(
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"role": "assistant", "content": "calling"},
        {"type": "function_call_output", "call_id": "c1", "output": "ok"},
    )
    assert [message["role"] for message in made] == ["assistant", "tool"]
    assert made[0]["content"] == "calling"


def test_a_picture_from_a_tool_is_shown_by_the_user_after_all_outputs_of_the_turn() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}
    made = messages(
        {"type": "function_call", "call_id": "c1", "name": "shot", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "shot", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": [picture]},
        {"type": "function_call_output", "call_id": "c2", "output": "none"},
        {"role": "user", "content": "And?"},
    )
    assert [message["role"] for message in made] == ["assistant", "tool", "tool", "user", "user"]
    assert made[3]["content"][1]["image_url"]["url"] == "data:image/png;base64,AA=="


def test_a_custom_tool_is_a_function_of_one_text_and_its_calls_and_outputs_follow() -> None:
    tool = {
        "type": "custom",
        "name": "sql",
        "description": "Runs SQL.",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
    }
    req = translated(
        input=[
            {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": 'SELECT "a"'},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "1"},
        ],
        tools=[tool],
        tool_choice={"type": "custom", "name": "sql"},
    )
    function = req["tools"][0]["function"]
    assert function["parameters"]["required"] == ["input"]
    assert "lark grammar" in function["description"]
    assert req["tool_choice"] == {"type": "function", "function": {"name": "sql"}}
    assert req["messages"][0]["tool_calls"][0]["function"]["arguments"] == '{"input":"SELECT \\"a\\""}'
    assert req["messages"][1] == {"role": "tool", "tool_call_id": "c1", "content": "1"}


def test_tools_and_parameters_get_chats_names() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    req = translated(
        input="hi",
        tools=[{"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}},
        max_output_tokens=64,
        temperature=0.5,
        top_p=0.9,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
        user="u",
        metadata={"a": "b"},
        prompt_cache_key="k",
        service_tier="flex",
        truncation="auto",
        store=True,
        seed=7,
    )
    req.pop("messages")
    assert req == {
        "model": "m",
        "temperature": 0.5,
        "top_p": 0.9,
        "parallel_tool_calls": False,
        "user": "u",
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "max_tokens": 64,
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "low",
        "service_tier": "flex",
        "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
        "seed": 7,
    }


def test_only_the_allowed_tools_are_offered() -> None:
    tools: list[JSON] = [{"type": "function", "name": name, "parameters": {}} for name in ("a", "b")]
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    req = translated(input="hi", tools=tools, tool_choice=allowed)
    assert [tool["function"]["name"] for tool in req["tools"]] == ["b"]
    assert req["tool_choice"] == "required"


def test_a_choice_without_tools_is_not_passed_on() -> None:
    req = translated(input="hi", tool_choice="auto", parallel_tool_calls=True, tools=[])
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & req.keys()


@pytest.mark.parametrize(
    ("native", "param"),
    [
        ({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, "tools[1]"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "computer_call_output", "call_id": "c", "output": {}}]}, "input[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_68af"}]}, "input[0].id"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
            "input[0].content[0].file_id",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x"}]}]},
            "input[0].content[0].file_url",
        ),
    ],
)
def test_what_only_a_provider_of_responses_can_do_is_named(native: JSON, param: str) -> None:
    reason = native_only(**native)
    assert reason is not None
    assert reason[0] == param


def test_what_a_hosted_tool_did_in_an_earlier_turn_is_left_out() -> None:
    items = as_items(
        [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, {"role": "user", "content": "hi"}]
    )
    req, into = to_chat({"model": "m"}, items)
    assert req["messages"] == [{"role": "user", "content": "hi"}]
    assert into.dropped == ["input[0]"]
    assert into.native_only is None


@pytest.mark.parametrize(
    ("native", "param"),
    [
        ({"input": 7}, "input"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "hi"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "hologram"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input[0].name"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": "hi", "tools": {}}, "tools"),
        ({"input": "hi", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "hi", "text": {"format": "json"}}, "text.format"),
        ({"input": "hi", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "hi", "instructions": ["a"]}, "instructions"),
        ({"input": "hi", "reasoning": "low"}, "reasoning"),
    ],
)
def test_a_bad_field_is_refused_with_its_place(native: JSON, param: str) -> None:
    with pytest.raises(StockyardError) as caught:
        translated(**native)
    assert (caught.value.code, caught.value.status, caught.value.param) == ("bad_request", 400, param)
