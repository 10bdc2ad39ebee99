from typing import Any

import pytest

from instance.chute.dialects.data_url import Media
from instance.chute.dialects.gemini.contents import SKIP_SIGNATURE, remote_urls
from instance.chute.dialects.gemini.request import Written, write_chat
from instance.chute.dialects.gemini.tool_ids import carried, carry
from instance.core.errors import StockyardError

PNG = "iVBORw0KGgo="
USER = {"role": "user", "content": "hi"}


def write(model: str = "gemini-2.5-flash", /, **req: Any) -> Written:
    req.setdefault("messages", [USER])
    return write_chat({"model": model, **req}, model)


def config(**req: Any) -> dict[str, Any]:
    body = write(**req).body
    made: dict[str, Any] = body["generationConfig"]
    return made


def test_roles_and_system_messages() -> None:
    body = write(
        messages=[
            {"role": "system", "content": "be brief"},
            USER,
            {"role": "assistant", "content": "hello"},
            {"role": "developer", "content": [{"type": "text", "text": "and kind"}]},
            {"role": "user", "content": "one"},
            {"role": "user", "content": "two"},
        ]
    ).body
    assert body["systemInstruction"] == {"parts": [{"text": "be brief"}, {"text": "and kind"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"text": "hello"}]},
        {"role": "user", "parts": [{"text": "one"}, {"text": "two"}]},
    ]


def test_images_sound_and_files_are_inlined() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "gs://bucket/a.png"}},
        {"type": "file", "file": {"file_url": "https://example.com/b.pdf"}},
    ]
    messages = [{"role": "user", "content": content}]
    assert remote_urls(messages) == [
        ("https://example.com/a.jpg", "messages[0].content[1]"),
        ("https://example.com/b.pdf", "messages[0].content[5]"),
    ]
    fetched = {
        "https://example.com/a.jpg": Media("image/jpeg", "/9j/"),
        "https://example.com/b.pdf": Media("application/pdf", "BBBB"),
    }
    body = write_chat({"messages": messages}, "gemini-2.5-flash", fetched=fetched).body
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"fileData": {"fileUri": "gs://bucket/a.png"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "BBBB"}},
    ]


def test_a_chat_of_instructions_only_is_asked_by_the_user() -> None:
    body = write(messages=[{"role": "system", "content": "say hi"}]).body
    assert body == {"contents": [{"role": "user", "parts": [{"text": "say hi"}]}]}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_id": "file-abc"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}},
        {"type": "image_url", "image_url": {"url": "ftp://example.com/a.png"}},
        {"type": "image_url"},
        {"type": "video"},
    ],
)
def test_a_part_that_cannot_be_sent_is_named(part: dict[str, Any]) -> None:
    with pytest.raises(StockyardError) as caught:
        write(messages=[USER, {"role": "user", "content": [{"type": "text", "text": "x"}, part]}])
    assert caught.value.status == 400
    assert caught.value.param == "messages[1].content[1]"


def test_tool_calls_and_their_results() -> None:
    first, second = carry("", "c2ln"), carry("own-1", "")
    body = write(
        messages=[
            USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": first, "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}},
                    {"id": second, "type": "function", "function": {"name": "weather", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": second, "content": "rain"},
            {"role": "tool", "tool_call_id": first, "content": '{"degrees": 3}'},
        ]
    ).body
    assert body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "weather", "args": {}, "id": "own-1"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"result": "rain"}, "id": "own-1"}},
                {"functionResponse": {"name": "weather", "response": {"degrees": 3}}},
            ],
        },
    ]


def test_a_result_of_no_call_is_refused() -> None:
    with pytest.raises(StockyardError) as caught:
        write(messages=[USER, {"role": "tool", "tool_call_id": "call_1", "content": "x"}])
    assert caught.value.param == "messages[1].tool_call_id"


@pytest.mark.parametrize(("model", "signature"), [("gemini-3-pro-preview", SKIP_SIGNATURE), ("gemini-2.5-pro", None)])
def test_a_call_of_another_model_is_marked_for_those_that_insist_on_a_signature(
    model: str, signature: str | None
) -> None:
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    parts = write(model, messages=[USER, {"role": "assistant", "tool_calls": calls}]).body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [signature, None]


def test_a_signature_of_text_goes_back_on_the_last_part() -> None:
    details = [{"type": "reasoning.encrypted", "data": "c2ln", "provider": "gemini"}]
    messages = [USER, {"role": "assistant", "content": "ok", "reasoning_details": details}]
    assert write(messages=messages).body["contents"][1]["parts"] == [{"text": "ok", "thoughtSignature": "c2ln"}]


@pytest.mark.parametrize(
    ("own", "signature"), [("", ""), ("", "YQ=="), ("fc-1_x", ""), ("fc-1", "+/+/"), ("bad id", "YQ==")]
)
def test_an_id_carries_what_gemini_wants_back(own: str, signature: str) -> None:
    call_id = carry(own, signature)
    assert call_id.replace("-", "").replace("_", "").isalnum()
    assert carried(call_id) == ("" if own == "bad id" else own, signature)


@pytest.mark.parametrize("call_id", ["", "call_abc123", "toolu_01__x", "a__s%", "chatcmpl-tool-1", "a__q__s"])
def test_ids_of_others_carry_nothing(call_id: str) -> None:
    assert carried(call_id) == ("", "")


def test_sampling() -> None:
    assert config(
        temperature=0.2,
        top_p=0.9,
        top_k=40,
        max_tokens=10,
        max_completion_tokens=20,
        n=2,
        seed=7,
        stop="END",
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=True,
        top_logprobs=3,
    ) == {
        "temperature": 0.2,
        "topP": 0.9,
        "topK": 40,
        "maxOutputTokens": 20,
        "candidateCount": 2,
        "seed": 7,
        "stopSequences": ["END"],
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "responseLogprobs": True,
        "logprobs": 3,
    }


def test_what_has_no_counterpart_is_named() -> None:
    written = write(
        user="u", logit_bias={"1": 2}, parallel_tool_calls=False, temperature=None, store=None, n=1, logprobs=False
    )
    assert written.dropped == ["user", "logit_bias", "parallel_tool_calls"]
    assert "generationConfig" not in written.body


@pytest.mark.parametrize(
    ("model", "effort", "thinking"),
    [
        ("gemini-2.5-flash", "none", {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-2.5-flash", "low", {"includeThoughts": True, "thinkingBudget": 1024}),
        ("gemini-2.5-pro", "high", {"includeThoughts": True, "thinkingBudget": 24576}),
        ("gemini-2.5-pro", "none", {"includeThoughts": False, "thinkingBudget": 128}),
        ("gemini-3-pro-preview", "minimal", {"includeThoughts": True, "thinkingLevel": "low"}),
        ("gemini-3-pro-preview", "medium", {"includeThoughts": True, "thinkingLevel": "high"}),
        ("gemini-3.1-pro-preview", "medium", {"includeThoughts": True, "thinkingLevel": "medium"}),
        ("models/gemini-3.5-flash", "minimal", {"includeThoughts": True, "thinkingLevel": "minimal"}),
    ],
)
def test_effort_of_thinking(model: str, effort: str, thinking: dict[str, Any]) -> None:
    body = write(model, reasoning_effort=effort).body
    assert body["generationConfig"]["thinkingConfig"] == thinking


def test_an_unknown_effort_is_refused() -> None:
    with pytest.raises(StockyardError, match="reasoning_effort"):
        write(reasoning_effort="wild")


TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a place",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def test_tools_are_declared() -> None:
    empty = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    assert write(tools=[TOOL, empty]).body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "of a place",
                    "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
                },
                {"name": "now"},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        ("auto", None),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "weather"}}, {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}},
            {"mode": "ANY", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
def test_which_tool_is_called(choice: Any, calling: Any) -> None:
    body = write(tools=[TOOL], tool_choice=choice).body
    assert body.get("toolConfig") == ({"functionCallingConfig": calling} if calling else None)


def test_provider_parameters_pass_top_level_and_in_an_object_of_their_own() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    written = write(
        safety_settings=settings,
        google={"thinking_config": {"thinking_budget": 5}, "cached_content": "cachedContents/1"},
        gemini={"tools": [{"code_execution": {}}], "generation_config": {"media_resolution": "LOW"}},
        tools=[TOOL],
        web_search_options={},
        temperature=1,
    )
    body = written.body
    assert written.dropped == []
    assert body["safetySettings"] == settings
    assert body["cachedContent"] == "cachedContents/1"
    assert body["generationConfig"] == {
        "temperature": 1,
        "thinkingConfig": {"thinkingBudget": 5},
        "mediaResolution": "LOW",
    }
    assert [next(iter(tool)) for tool in body["tools"]] == ["functionDeclarations", "googleSearch", "codeExecution"]


def test_safety_of_the_settings_yields_to_the_callers() -> None:
    own = {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"}
    body = write_chat({"messages": [USER]}, "m", safety=own).body
    assert body["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
    assert write_chat({"messages": [USER], "safetySettings": []}, "m", safety=own).body["safetySettings"] == []


def test_structured_output() -> None:
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    assert config(response_format=form) == {
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}},
    }
    assert config(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
