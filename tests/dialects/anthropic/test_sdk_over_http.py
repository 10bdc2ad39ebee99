"""The official anthropic SDK as caller, against a provider of OpenAI's dialect and one of Anthropic's own."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import orjson
import pytest

from tests.mock_replies import delay, failing, status, text, thinking, tool, tools
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

OPENAI, ANTHROPIC = "up/small", "claude/claude-mock-small"
BOTH = pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
PNG = base64.b64encode(bytes.fromhex("89504e470d0a1a0a") + b"\0" * 60).decode()
TOOL: Any = {
    "name": "get_weather",
    "description": "the weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def claude(mock: MockUpstream) -> str:
    url = mock.at("anthropic")
    return (
        f'[providers.claude]\ntype = "anthropic"\nbase_url = "{url}"\napi_key = "sk-ant-test"\n'
        'models = ["claude-mock-small", "claude-3-7-sonnet"]\n'
    )


@asynccontextmanager
async def opened(**modules: Any) -> AsyncIterator[tuple[Running, anthropic.AsyncAnthropic]]:
    async with running(modules=modules, providers=claude) as s:
        client = s.claude()
        try:
            yield s, client
        finally:
            await client.close()


def ask(model: str, content: Any, **more: Any) -> Any:
    return {"model": model, "max_tokens": 4000, "messages": [{"role": "user", "content": content}], **more}


def said(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@BOTH
async def test_a_chat(model: str) -> None:
    async with opened() as (s, client):
        message = await client.messages.create(**ask(model, "hi", system="be kind"))
        assert said(message) == "echo: hi"
        assert message.stop_reason == "end_turn"
        assert message.usage.input_tokens > 0
        assert message.usage.output_tokens > 0
        assert message._request_id is not None
        [trace] = await s.recent_traces(1)
        assert trace["dialect_in"] == "anthropic.messages"
        assert trace["tokens_out"] == message.usage.output_tokens


@BOTH
async def test_a_stream_says_what_the_plain_answer_says(model: str) -> None:
    async with opened() as (_, client):
        plain = await client.messages.create(**ask(model, "one two three"))
        async with client.messages.stream(**ask(model, "one two three")) as stream:
            pieces = [piece async for piece in stream.text_stream]
            message = await stream.get_final_message()
        assert "".join(pieces) == said(message) == said(plain)
        assert len(pieces) > 1
        assert message.stop_reason == plain.stop_reason
        assert message.usage.output_tokens == plain.usage.output_tokens
        assert message.usage.input_tokens == plain.usage.input_tokens


@BOTH
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_round_of_parallel_tools(model: str, streamed: bool) -> None:
    async with opened() as (s, client):
        s.mock.script(tools(("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"})), text("sunny"))
        first = ask(model, "weather?", tools=[TOOL])
        if streamed:
            async with client.messages.stream(**first) as stream:
                message = await stream.get_final_message()
        else:
            message = await client.messages.create(**first)
        assert message.stop_reason == "tool_use"
        calls = [block for block in message.content if block.type == "tool_use"]
        assert [call.input for call in calls] == [{"city": "Oslo"}, {"city": "Rome"}]
        assert len({call.id for call in calls}) == 2
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "22"} for call in calls]
        first["messages"] += [
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
            {"role": "user", "content": results},
        ]
        assert said(await client.messages.create(**first)) == "sunny"


@BOTH
async def test_an_image_in_a_question_and_in_a_tools_result(model: str) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    async with opened() as (_, client):
        message = await client.messages.create(**ask(model, [{"type": "text", "text": "see"}, image]))
        assert "image/png 68 bytes" in said(message)
        call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "x"}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "so"}, image]}
        asked = ask(model, "look", tools=[TOOL])
        asked["messages"] += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        assert await client.messages.create(**asked)


@BOTH
@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_comes_and_goes_back(model: str, streamed: bool) -> None:
    async with opened() as (s, client):
        s.mock.script(thinking("let me see", "done"), text("again"))
        asked = ask(model, "why?", thinking={"type": "enabled", "budget_tokens": 2000})
        if streamed:
            async with client.messages.stream(**asked) as stream:
                message = await stream.get_final_message()
        else:
            message = await client.messages.create(**asked)
        thought = message.content[0]
        assert thought.type == "thinking"
        assert thought.thinking == "let me see"
        assert said(message) == "done"
        asked["messages"] += [
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
            {"role": "user", "content": "and?"},
        ]
        assert said(await client.messages.create(**asked)) == "again"


@BOTH
@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (400, anthropic.BadRequestError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_providers_error_is_the_sdks_own(
    model: str, code: int, raised: type[anthropic.APIStatusError], streamed: bool
) -> None:
    async with opened(retry=False) as (s, client):
        s.mock.script(status(code, "not today"))
        with pytest.raises(raised) as caught:
            if streamed:
                async with client.messages.stream(**ask(model, "x")) as stream:
                    await stream.get_final_message()
            else:
                await client.messages.create(**ask(model, "x"))
        body = caught.value.body
        assert isinstance(body, dict)
        assert body["type"] == "error"
        assert "not today" in body["error"]["message"]


async def test_our_own_refusals_have_the_shape_too() -> None:
    async with opened() as (_, client):
        for wrong, raised in (
            (ask(OPENAI, "x", messages=[]), anthropic.BadRequestError),
            (ask("nobody/knows", "x"), anthropic.APIStatusError),
        ):
            with pytest.raises(raised) as caught:
                await client.messages.create(**wrong)
            assert caught.value.body["type"] == "error"  # type: ignore[index]
        stranger = client.with_options(api_key="sy_unknown")
        with pytest.raises(anthropic.AuthenticationError) as denied:
            await stranger.messages.create(**ask(OPENAI, "x"))
        assert denied.value.body["type"] == "error"  # type: ignore[index]


async def test_a_path_with_v1_twice_and_one_that_is_not_there() -> None:
    async with opened() as (s, _):
        http = s.http()
        answer = await http.post("/v1/v1/messages", json=ask(OPENAI, "hi"))
        assert answer.status_code == 200
        assert answer.json()["content"] == [{"type": "text", "text": "echo: hi"}]
        missing = await http.get("/v1/messages/nothing")
        assert missing.status_code == 404
        assert missing.json()["type"] == "error"
        wrong = await http.get("/v1/messages")
        assert wrong.status_code == 405
        assert wrong.json()["type"] == "error"


async def test_what_only_anthropic_serves_is_refused_elsewhere_by_name() -> None:
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    async with opened() as (_, client):
        with pytest.raises(anthropic.BadRequestError) as caught:
            await client.messages.create(**ask(OPENAI, "x", tools=[search]))
        assert caught.value.body["error"]["param"] == "tools[0]"  # type: ignore[index]


async def test_a_call_of_anthropics_own_dialect_goes_and_comes_byte_for_byte() -> None:
    raw = (
        b'{ "max_tokens":50,"model":"claude-mock-small",  "messages":[{"role":"user","content":"hi"}],'
        b'"metadata":{"user_id":"u"}}'
    )
    async with opened() as (s, _):
        headers = {"anthropic-beta": "a-1,b-2", "anthropic-version": "2023-06-01", "content-type": "application/json"}
        answer = await s.http().post("/v1/messages", content=raw, headers=headers)
        assert answer.status_code == 200
        call = s.mock.calls[-1]
        assert call.body == raw
        assert call.headers["anthropic-beta"] == "a-1,b-2"
        assert call.headers["x-api-key"] == "sk-ant-test"
        assert "authorization" not in call.headers
        assert answer.json()["id"].startswith("msg_mock")


async def test_a_streamed_secret_is_taken_out_of_its_own_event_only() -> None:
    key = "sk-ant-api03-aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF2hJ4kL6nP8rS0uV2xY4zA6cD8fG0iK2mO4qR6tU8wX0yZ1a"
    async with opened(secretscan={"action": "redact"}) as (s, client):
        s.mock.script(text(f"the key is {key} keep it"))
        async with client.messages.stream(**ask(ANTHROPIC, "x")) as stream:
            message = await stream.get_final_message()
        assert key not in said(message)
        assert said(message).startswith("the key is ")
        assert said(message).endswith(" keep it")
        s.mock.script(text(f"the key is {key} keep it"))
        plain = await client.messages.create(**ask(ANTHROPIC, "x"))
        assert said(plain) == said(message)
        await client.messages.create(**ask(ANTHROPIC, f"keep {key} safe", system="be kind"))
        sent = orjson.loads(s.mock.calls[-1].body)
        assert key not in str(sent)
        assert sent["messages"][0]["content"][0]["text"].startswith("keep [SECRET:")
        assert sent["system"] == [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}]


async def test_an_overloaded_provider_is_503_and_may_be_tried_again() -> None:
    async with opened(retry=False) as (s, client):
        s.mock.script(status(529, "Overloaded"))
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(**ask(ANTHROPIC, "x"))
        assert caught.value.status_code == 503
        assert caught.value.body["error"]["code"] == "overloaded"  # type: ignore[index]


async def test_a_stream_that_breaks_ends_with_an_error_event() -> None:
    for model in (OPENAI, ANTHROPIC):
        async with opened(retry=False) as (s, client):
            s.mock.script(failing(after=2, code=500))
            with pytest.raises(anthropic.APIStatusError):
                async with client.messages.stream(**ask(model, "one two three four five")) as stream:
                    await stream.get_final_message()


async def test_a_forced_tool_is_called() -> None:
    async with opened() as (s, client):
        s.mock.script(tool("get_weather", {"city": "Oslo"}))
        choice: Any = {"type": "tool", "name": "get_weather"}
        await client.messages.create(**ask(OPENAI, "x", tools=[TOOL], tool_choice=choice))
        assert orjson.loads(s.mock.calls[-1].body)["tool_choice"] == {
            "type": "function",
            "function": {"name": "get_weather"},
        }


async def test_tokens_are_counted_by_anthropic_and_estimated_for_others() -> None:
    async with opened() as (s, client):
        fields: Any = {"messages": [{"role": "user", "content": "one two three four"}], "tools": [TOOL]}
        counted = await client.messages.count_tokens(model=ANTHROPIC, **fields)
        assert s.mock.calls[-1].path.endswith("/v1/messages/count_tokens")
        assert orjson.loads(s.mock.calls[-1].body)["model"] == "claude-mock-small"
        assert counted.input_tokens > 0
        assert counted.model_extra == {"stockyard": {"exact": True}}
        calls = len(s.mock.calls)
        estimated = await client.messages.count_tokens(model=OPENAI, **fields)
        assert len(s.mock.calls) == calls
        assert estimated.input_tokens > 10
        assert estimated.model_extra == {"stockyard": {"exact": False}}
        s.mock.script(status(500, "no"))
        unsure = await client.messages.count_tokens(model=ANTHROPIC, **fields)
        assert unsure.model_extra == {"stockyard": {"exact": False}}
        with pytest.raises(anthropic.BadRequestError) as caught:
            await client.messages.count_tokens(model=OPENAI, messages=[])
        assert caught.value.body["type"] == "error"  # type: ignore[index]


@BOTH
async def test_a_providers_own_error_body_is_still_one_for_the_sdk(model: str) -> None:
    async with opened(retry=False, errornorm={"style": "raw"}) as (s, client):
        s.mock.script(status(400, "as the provider says it"))
        with pytest.raises(anthropic.BadRequestError) as caught:
            await client.messages.create(**ask(model, "x"))
        body = caught.value.body
        assert isinstance(body, dict)
        assert body["type"] == "error"
        assert body["error"]["message"] == "as the provider says it"


@BOTH
async def test_a_cached_answer_serves_callers_of_both_dialects(model: str) -> None:
    async with opened(cachelayer=True) as (s, client):
        async with client.messages.stream(**ask(model, "hi there")) as stream:
            first = await stream.get_final_message()
        again = await client.messages.create(**ask(model, "hi there"))
        assert said(again) == said(first) == "echo: hi there"
        assert again.usage.output_tokens == first.usage.output_tokens
        body = {"model": model, "max_tokens": 4000, "messages": [{"role": "user", "content": "hi there"}]}
        other = await s.http().post("/v1/chat/completions", json=body)
        assert other.json()["choices"][0]["message"]["content"] == "echo: hi there"
        assert other.headers["x-stockyard-cache"] == "hit"
        assert len(s.mock.calls) == 1


@pytest.mark.parametrize(("first", "second"), [(OPENAI, ANTHROPIC), (ANTHROPIC, OPENAI)])
async def test_a_hedged_stream_is_whole_in_either_dialect(first: str, second: str) -> None:
    config = (
        '[[routes]]\npattern = "both"\nhedge_after_ms = 20\n'
        f'targets = [{{target = "{first}"}}]\nfallback = ["{second}"]\n'
    )
    async with running({"fallbackrouter": True}, providers=claude, config=config) as s:
        client = s.claude()
        s.mock.script(delay(30), path="/messages" if first == ANTHROPIC else "/chat/completions")
        async with client.messages.stream(**ask("both", "one two three")) as stream:
            message = await stream.get_final_message()
        assert said(message) == "echo: one two three"
        assert message.stop_reason == "end_turn"
        [trace] = await s.recent_traces(1)
        assert trace["provider"] == second.partition("/")[0]
        await client.close()


async def test_an_agents_request_with_marks_for_the_cache_reaches_every_dialect() -> None:
    dialects = {
        "openai": "gpt",
        "gemini": "gemini",
        "mistral": "m",
        "cohere": "c",
        "ollama": "o",
        "bedrock": "amazon.nova",
    }

    def all_of_them(mock: MockUpstream) -> str:
        rows = (
            f'[providers.x{name}]\ntype = "{name}"\nbase_url = "{mock.at(name)}"\napi_key = "key-123456"\nmodels = ["{model}"]\n'
            for name, model in dialects.items()
        )
        return "".join(rows)

    mark = {"type": "ephemeral"}
    call = {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {"city": "Oslo"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_01",
        "content": [{"type": "text", "text": "22"}],
        "is_error": False,
        "cache_control": mark,
    }
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": mark}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "and then?"}]},
    ]
    fields: Any = {
        "system": [{"type": "text", "text": "You help.", "cache_control": mark}],
        "tools": [{**TOOL, "cache_control": mark}],
        "metadata": {"user_id": "u1"},
        "stop_sequences": ["STOP"],
        "messages": messages,
        "max_tokens": 5000,
    }
    async with running(modules={"retry": False}, providers=all_of_them) as s:
        client = s.claude()
        for name, model in dialects.items():
            message = await client.messages.create(model=f"x{name}/{model}", **fields)
            assert "and then?" in said(message), name
            async with client.messages.stream(model=f"x{name}/{model}", **fields) as stream:
                assert said(await stream.get_final_message()) == said(message), name
        await client.close()


async def test_with_the_shim_off_the_openai_compatible_part_gets_plain_chat() -> None:
    async with opened(anthrofit=False) as (s, client):
        mark = {"type": "ephemeral"}
        system: Any = [{"type": "text", "text": "You help.", "cache_control": mark}]
        message = await client.messages.create(**ask(ANTHROPIC, "x", system=system, thinking={"type": "disabled"}))
        assert said(message) == "echo: x"
        call = s.mock.calls[-1]
        assert call.path == "/anthropic/v1/chat/completions"
        assert b"cache_control" not in call.body
        assert "anthropic" not in orjson.loads(call.body)
