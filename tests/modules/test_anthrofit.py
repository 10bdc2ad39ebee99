"""anthrofit through HTTP: the official openai SDK against Anthropic's own API; the mock checks every body."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pytest
from pydantic import BaseModel

from tests.mock_replies import Reply, failing, status, text, thinking, tools
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running

MODEL = "claude/claude-mock-small"
PNG = base64.b64encode(bytes.fromhex("89504e470d0a1a0a") + b"\0" * 60).decode()
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def claude(mock: MockUpstream) -> str:
    return (
        f'[providers.claude]\ntype = "anthropic"\nbase_url = "{mock.at("anthropic")}"\napi_key = "sk-ant-test"\n'
        'models = ["claude-mock-small", "claude-opus-4-7", "claude-sonnet-4-5"]\n'
    )


@asynccontextmanager
async def opened(settings: Any = None, **modules: Any) -> AsyncIterator[Running]:
    wanted = {**modules, **({"anthrofit": settings} if settings is not None else {})}
    async with running(modules=wanted, providers=claude) as s:
        s.model = MODEL
        yield s


def asked(content: Any, **more: Any) -> Any:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **more}


def sent(s: Running, number: int = -1) -> Any:
    return orjson.loads(s.mock.calls[number].body)


async def test_two_system_messages_two_calls_and_two_results() -> None:
    call: Any = {"type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
    messages = [
        {"role": "system", "content": "one"},
        {"role": "system", "content": "two"},
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [{**call, "id": "call_1"}, {**call, "id": "call_2"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        {"role": "tool", "tool_call_id": "call_2", "content": "2"},
    ]
    async with opened({"auto_cache": False}) as s:
        answer = await s.sdk().chat.completions.create(model=MODEL, messages=messages, tools=[TOOL])  # type: ignore[arg-type]
        assert answer.choices[0].message.content is not None
        body = sent(s)
        assert body["system"] == [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
        assert body["messages"][2]["content"] == [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "1"},
            {"type": "tool_result", "tool_use_id": "call_2", "content": "2"},
        ]
        assert body["max_tokens"] == 4096
        headers = s.mock.calls[-1].headers
        assert headers["x-api-key"] == "sk-ant-test"
        assert headers["anthropic-version"] == "2023-06-01"
        assert "authorization" not in headers
        assert "anthropic-beta" not in headers


async def test_cached_tokens_are_shown_and_recorded() -> None:
    usage = {
        "prompt_tokens": 120,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_creation_tokens": 5},
    }
    async with opened() as s:
        for stream in (False, True):
            s.mock.script(text("hi", usage=usage))
            if stream:
                options: Any = {"stream": True, "stream_options": {"include_usage": True}}
                chunks = [chunk async for chunk in await s.sdk().chat.completions.create(**asked("x"), **options)]
                found = chunks[-1].usage
            else:
                found = (await s.sdk().chat.completions.create(**asked("x"))).usage
            assert found is not None
            assert found.prompt_tokens_details is not None
            assert found.prompt_tokens_details.cached_tokens == 100
            assert found.prompt_tokens == 120
            [trace] = await s.recent_traces(1)
            assert trace["tokens_in"] == 120
            assert trace["tokens_cached"] == 100


async def test_a_stream_says_what_the_plain_answer_says_cut_at_any_byte() -> None:
    async with opened() as s:
        plain = await s.sdk().chat.completions.create(**asked("one two three"))
        assert plain.choices[0].message.content == "echo: one two three"
        for size in (1, 7, 4096):
            s.mock.script(Reply(slice_bytes=size))
            stream = await s.sdk().chat.completions.create(
                **asked("one two three"), stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "echo: one two three"
            assert chunks[0].choices[0].delta.role == "assistant"
            assert chunks[-1].usage == plain.usage
            assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
            assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_round_of_parallel_tools(streamed: bool) -> None:
    async with opened() as s:
        s.mock.script(tools(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"})), text("sunny"))
        first = asked("weather?", tools=[TOOL])
        if streamed:
            async with s.sdk().chat.completions.stream(**first) as stream:
                message = (await stream.get_final_completion()).choices[0].message
        else:
            message = (await s.sdk().chat.completions.create(**first)).choices[0].message
        calls: Any = message.tool_calls
        assert [orjson.loads(call.function.arguments)["city"] for call in calls] == ["Oslo", "Rome"]
        made = [call.model_dump(include={"id", "type", "function"}) for call in calls]
        results = [{"role": "tool", "tool_call_id": call.id, "content": "22"} for call in calls]
        first["messages"] += [{"role": "assistant", "content": None, "tool_calls": made}, *results]
        assert (await s.sdk().chat.completions.create(**first)).choices[0].message.content == "sunny"


async def test_an_image_and_a_document() -> None:
    content = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
    async with opened() as s:
        answer = await s.sdk().chat.completions.create(**asked(content))
        assert "image/png 68 bytes" in (answer.choices[0].message.content or "")
        assert [block["type"] for block in sent(s)["messages"][0]["content"]] == ["text", "image", "document"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_comes_signed_and_goes_back_with_the_calls_results(streamed: bool) -> None:
    async with opened() as s:
        s.mock.script(
            Reply(reasoning="let me see", tool_calls=tools(("get_weather", {"city": "x"})).tool_calls), text("sunny")
        )
        first = asked("why?", reasoning_effort="medium", tools=[TOOL], temperature=0.5)
        details: list[Any] = []
        thought = ""
        call: dict[str, Any] = {}
        if streamed:
            async for chunk in await s.sdk().chat.completions.create(**first, stream=True):
                delta: Any = chunk.choices[0].delta.model_dump(exclude_none=True) if chunk.choices else {}
                details += delta.get("reasoning_details", [])
                thought += delta.get("reasoning_content", "")
                for piece in delta.get("tool_calls", ()):
                    call.setdefault("id", piece.get("id"))
                    call["arguments"] = call.get("arguments", "") + piece["function"].get("arguments", "")
        else:
            message: Any = (await s.sdk().chat.completions.create(**first)).choices[0].message.model_dump()
            details, thought = message["reasoning_details"], message["reasoning_content"]
            [made] = message["tool_calls"]
            call = {"id": made["id"], "arguments": made["function"]["arguments"]}
        assert thought == "let me see"
        assert sent(s)["thinking"] == {"type": "enabled", "budget_tokens": 8192}
        assert "temperature" not in sent(s)
        function = {"name": "get_weather", "arguments": call["arguments"]}
        first["messages"] += [
            {
                "role": "assistant",
                "content": None,
                "reasoning_details": details,
                "tool_calls": [{"id": call["id"], "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": call["id"], "content": "22"},
        ]
        assert (await s.sdk().chat.completions.create(**first)).choices[0].message.content == "sunny"
        assert sent(s)["messages"][1]["content"][0]["type"] == "thinking"
        assert sent(s)["thinking"]["type"] == "enabled"


async def test_thinking_can_be_hidden() -> None:
    async with opened({"reasoning": "hide"}) as s:
        s.mock.script(thinking("let me see", "done"), thinking("let me see", "done"))
        plain = await s.chat("x")
        assert plain.json()["choices"][0]["message"] == {"role": "assistant", "content": "done"}
        assert "let me see" not in (await s.chat("x", stream=True)).text


class City(BaseModel):
    name: str
    people: int


@pytest.mark.parametrize("model", [MODEL, "claude/claude-sonnet-4-5"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_of_a_schema_is_parsed(model: str, streamed: bool) -> None:
    async with opened() as s:
        wanted = asked("a city", model=model, response_format=City)
        if streamed:
            async with s.sdk().chat.completions.stream(**wanted) as stream:
                choice: Any = (await stream.get_final_completion()).choices[0]
        else:
            choice = (await s.sdk().chat.completions.parse(**wanted)).choices[0]
        assert isinstance(choice.message.parsed, City)
        assert choice.finish_reason == "stop"
        assert not choice.message.tool_calls
        native = "output_config" in sent(s)
        assert native == ("sonnet-4-5" in model)
        assert ("tool_choice" in sent(s)) != native


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_providers_error_is_the_sdks_own(
    code: int, raised: type[openai.APIStatusError], streamed: bool
) -> None:
    async with opened(retry=False) as s:
        s.mock.script(status(code, "not today"))
        with pytest.raises(raised) as caught:
            await s.sdk().chat.completions.create(**asked("x"), stream=streamed)
        assert "not today" in str(caught.value)


async def test_a_refused_key_is_the_instances_fault() -> None:
    async with opened(retry=False) as s:
        s.mock.script(status(401, "invalid x-api-key"))
        with pytest.raises(openai.InternalServerError) as caught:
            await s.sdk().chat.completions.create(**asked("x"))
        assert caught.value.code == "provider_auth_failed"


@pytest.mark.parametrize("streamed", [False, True])
async def test_529_is_503_overloaded_and_repeated(streamed: bool) -> None:
    async with opened(retry=False) as s:
        s.mock.script(status(529, "Overloaded"))
        with pytest.raises(openai.InternalServerError) as caught:
            await s.sdk().chat.completions.create(**asked("x"), stream=streamed)
        assert caught.value.status_code == 503
        assert caught.value.code == "overloaded"
        assert caught.value.response.headers.get("x-should-retry") != "false"
    async with opened(retry={"base_delay_s": 0.01}) as s:
        s.mock.script(status(529, "Overloaded"))
        answer = await s.sdk().chat.completions.create(**asked("x"))
        assert answer.choices[0].message.content == "echo: x"
        assert len(s.mock.calls) == 2


async def test_an_error_in_the_middle_of_a_stream_is_raised() -> None:
    async with opened(retry=False) as s:
        s.mock.script(failing(after=2, code=529, message="Overloaded"))
        with pytest.raises(openai.APIError) as caught:
            async for _ in await s.sdk().chat.completions.create(**asked("one two three four"), stream=True):
                pass
        assert "verloaded" in str(caught.value)


async def test_the_settings_are_what_is_sent() -> None:
    settings = {
        "version": "2024-01-02",
        "beta": ["one-1"],
        "default_max_tokens": 77,
        "late_system": "user",
        "auto_cache": True,
    }
    messages: Any = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "system", "content": "late"},
    ]
    async with opened(settings) as s:
        await s.sdk().chat.completions.create(
            model=MODEL, messages=messages, tools=[TOOL], extra_headers={"anthropic-beta": "two-2, one-1"}
        )
        call, body = s.mock.calls[-1], sent(s)
        assert call.headers["anthropic-version"] == "2024-01-02"
        assert call.headers["anthropic-beta"] == "two-2,one-1"
        assert body["max_tokens"] == 77
        assert [block["text"] for block in body["messages"][-1]["content"]] == ["c", "late"]
        mark = {"type": "ephemeral"}
        assert body["system"][-1]["cache_control"] == body["tools"][-1]["cache_control"] == mark
        assert body["messages"][0]["content"][-1]["cache_control"] == mark
        assert "cache_control" not in body["messages"][2]["content"][-1]


async def test_what_was_dropped_is_in_the_trail_or_refused() -> None:
    async with opened() as s:
        answer = await s.chat("x", seed=1, logit_bias={"1": 1})
        assert answer.status_code == 200
        assert answer.headers["x-stockyard-upstream-id"].startswith("req_mock")
        trace_id = answer.headers["x-stockyard-trace-id"]
        assert await s.trail(trace_id, "anthrofit") == [
            ("shim", {"dialect": "anthropic", "dropped": ["seed", "logit_bias"]})
        ]
        trace = await s.trace(trace_id)
        assert trace["dialect_out"] == "anthropic.messages"
        await s.configure({"anthrofit": {"on_unsupported": "reject"}})
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(**asked("x", seed=1))
        assert caught.value.code == "unsupported_parameter"
        assert caught.value.param == "seed"


async def test_own_parameters_pass_from_extra_body() -> None:
    async with opened() as s:
        own = {"top_k": 5, "anthropic": {"service_tier": "standard_only"}}
        await s.sdk().chat.completions.create(**asked("x"), extra_body=own)
        assert sent(s)["top_k"] == 5
        assert sent(s)["service_tier"] == "standard_only"
        assert "anthropic" not in sent(s)


async def test_with_the_shim_off_the_openai_compatible_endpoint_is_called() -> None:
    async with opened(False) as s:
        await s.chat("x")
        assert s.mock.calls[-1].path == "/anthropic/v1/chat/completions"
        assert s.mock.calls[-1].headers["authorization"] == "Bearer sk-ant-test"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_secret_in_the_thinking_is_taken_out_wherever_it_stands(streamed: bool) -> None:
    key = "sk-ant-api03-aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF2hJ4kL6nP8rS0uV2xY4zA6cD8fG0iK2mO4qR6tU8wX0yZ1a"
    async with opened(secretscan={"action": "redact"}) as s:
        s.mock.script(thinking(f"the key {key} is theirs", "done"))
        answer = await s.chat("x", stream=streamed)
        assert answer.status_code == 200
        assert "reasoning_details" in answer.text
        assert "[SECRET:" in answer.text
        assert key not in answer.text
        assert key[:40] not in answer.text
