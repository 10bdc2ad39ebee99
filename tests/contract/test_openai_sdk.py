"""The official openai SDK against an instance: what its users do first, and how its errors arrive."""

from typing import Any

import openai
import pytest

from tests.mock_replies import hang_up, status, tool
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

HI: list[Any] = [{"role": "user", "content": "hi there"}]


async def test_a_whole_answer_of_the_built_in_model() -> None:
    async with running() as s:
        answer = await s.sdk().chat.completions.create(model="mock/gpt", messages=HI)
        assert answer.choices[0].message.content == "echo: hi there"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_streamed_answer_is_the_same_text() -> None:
    async with running() as s:
        stream = await s.sdk().chat.completions.create(model="mock/gpt", messages=HI, stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "echo: hi there"
        assert all(chunk.usage is None for chunk in chunks)
        assert all(chunk.choices for chunk in chunks)


async def test_usage_comes_with_a_stream_only_when_it_was_asked_for() -> None:
    async with running() as s:
        for model in ("mock/gpt", s.model):
            stream = await s.sdk().chat.completions.create(
                model=model, messages=HI, stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].usage is not None
            assert chunks[-1].usage.completion_tokens > 0
            stream = await s.sdk().chat.completions.create(model=model, messages=HI, stream=True)
            assert all(chunk.choices for chunk in [chunk async for chunk in stream])
        assert s.mock.calls[-1].json()["stream_options"] == {"include_usage": True}


async def test_the_headers_lead_to_a_trace_with_its_decisions_in_nanoseconds() -> None:
    async with running({"costcap": {"daily_limit_usd": 100}, "cachelayer": True}) as s:
        for stream in (False, True):
            raw = await s.sdk().chat.completions.with_raw_response.create(
                model=s.model, messages=[{"role": "user", "content": f"again {stream}"}], stream=stream
            )
            if stream:
                async for _ in raw.parse():
                    pass
            trace = await s.trace(raw.headers["x-stockyard-trace-id"])
            assert (trace["provider"], trace["model"], trace["status"], trace["stream"]) == (
                "up",
                "small",
                "ok",
                stream,
            )
            assert raw.headers["x-stockyard-provider"] == "up"
            assert trace["request_id"] == raw.request_id
            assert trace["tokens_out"] > 0
            assert trace["decisions"]
            for decision in trace["decisions"]:
                assert decision["at_ns"] > 0
                assert decision["module"] in ("costcap", "cachelayer")


async def test_tools_and_image_parts_reach_the_provider_as_they_are() -> None:
    async with running() as s:
        s.mock.script(tool("weather", {"city": "Oslo"}))
        messages: list[Any] = [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it like here?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                ],
            }
        ]
        tools: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
        answer = await s.sdk().chat.completions.create(model=s.model, messages=messages, tools=tools)
        calls = answer.choices[0].message.tool_calls
        assert calls is not None
        assert calls[0].function.name == "weather"  # type: ignore[union-attr]
        sent = s.mock.calls[-1].json()
        assert sent["messages"] == messages
        assert sent["tools"] == tools


@pytest.mark.parametrize(
    ("model", "reply", "error", "code"),
    [
        ("nowhere/none", None, openai.NotFoundError, "model_not_found"),
        ("up/small", status(400, "bad"), openai.BadRequestError, "bad_request"),
        ("up/small", status(401, "bad key"), openai.InternalServerError, "provider_auth_failed"),
        ("up/small", status(429, "slow down", {"retry-after": "60"}), openai.RateLimitError, "rate_limited"),
        ("up/small", status(500, "oops"), openai.InternalServerError, "provider_error"),
        ("up/small", hang_up(), openai.InternalServerError, "provider_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_arrive_as_the_sdks_own_classes(
    model: str, reply: Any, error: type[openai.APIStatusError], code: str, stream: bool
) -> None:
    second = '[providers.other]\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "other-key-1"\nmodels = ["x"]\n'
    async with running({"retry": False}, config=second) as s:
        if reply is not None:
            s.mock.script(reply)
        with pytest.raises(error) as caught:
            await s.sdk().chat.completions.create(model=model, messages=HI, stream=stream)
        assert caught.value.code == code
        assert caught.value.request_id
        trace = await s.trace(caught.value.response.headers["x-stockyard-trace-id"])
        assert trace["status"] == "error"
        assert trace["error"]["code"] == code
        assert trace["http_status"] == caught.value.status_code


async def test_a_wrong_key_is_an_authentication_error() -> None:
    async with running() as s:
        with pytest.raises(openai.AuthenticationError) as caught:
            await s.sdk("sk-sy-wrong-key-wrong-key").chat.completions.create(model="mock/gpt", messages=HI)
        assert caught.value.code == "unauthorized"
        assert not s.mock.calls


async def models_of(s: Running) -> list[str]:
    return [model.id async for model in await s.sdk().models.list()]


async def test_the_list_of_models_names_what_can_be_called() -> None:
    async with running() as s:
        names = await models_of(s)
        assert "mock/gpt" in names
        assert (await s.sdk().models.retrieve("mock/gpt")).id == "mock/gpt"
        with pytest.raises(openai.NotFoundError):
            await s.sdk().models.retrieve("nowhere/none")
