"""groqshim over HTTP, with the official SDK."""

from typing import Any

import openai
import orjson
import pytest

from tests.mock_replies import Reply, stall, status, text
from tests.modules.conftest import pytest_asyncio_loop_factories
from tests.modules.openai_like import (
    HI,
    WEATHER,
    check_common,
    check_image,
    chunk,
    completion,
    provider,
    sent,
    stream,
    streamed,
    text_of,
    whole,
)

__all__ = ["pytest_asyncio_loop_factories"]

FAILED = '<function=weather>{"city": "Rome"}</function>'


def groq(settings: dict[str, Any] | None = None, **modules: Any) -> Any:
    own = {"groqshim": settings} if settings is not None else {}
    return provider("groq", "/groq/openai/v1", "llama-3.3-70b-versatile", {**own, **modules})


def tool_use_failed(generation: str) -> Reply:
    error = {
        "message": "Failed to call a function. Please adjust your prompt.",
        "type": "invalid_request_error",
        "code": "tool_use_failed",
        "failed_generation": generation,
    }
    return whole({"error": error}, 400)


async def test_text_tools_streams_and_errors() -> None:
    async with groq() as s:
        await check_common(s)


async def test_an_image_reaches_the_provider() -> None:
    async with groq() as s:
        await check_image(s)


async def test_what_groq_has_not_is_left_out_and_named() -> None:
    async with groq() as s:
        raw = await s.sdk().chat.completions.with_raw_response.create(
            model=s.model,
            messages=[{"role": "user", "content": "hi", "name": "ada"}],
            logprobs=True,
            top_logprobs=2,
            logit_bias={"5": 1},
            n=2,
            temperature=0,
        )
        body = sent(s)
        assert not {"logprobs", "top_logprobs", "logit_bias", "n"} & set(body)
        assert body["messages"] == HI and body["temperature"] == 1e-8
        trail = await s.trail(raw.headers["x-stockyard-trace-id"], "groqshim")
        dropped = ["messages[].name", "n", "logprobs", "top_logprobs", "logit_bias"]
        assert trail == [("shim", {"dialect": "groq", "dropped": dropped})]


async def test_with_every_module_at_its_default_the_trail_names_them_too() -> None:
    async with groq(paramnorm=True) as s:
        raw = await s.sdk().chat.completions.with_raw_response.create(
            model=s.model, messages=HI, logprobs=True, logit_bias={"5": 1}
        )
        assert not {"logprobs", "logit_bias"} & set(sent(s))
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        told = str([entry["detail"] for entry in trace["decisions"]])
        assert "logprobs" in told and "logit_bias" in told


@pytest.mark.parametrize(
    "generation",
    [
        FAILED,
        '<function=weather{"city": "Rome"}</function>',
        '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>',
        '{"tool_calls": [{"id": "pending", "type": "function", "function": {"name": "weather"}, "parameters": {"city": "Rome"}}]}',
        "{'name': 'weather', 'parameters': {'city': 'Rome',}}",
        '[weather(city="Rome")]',
    ],
)
async def test_a_failed_tool_call_is_read_out_of_its_text(generation: Any) -> None:
    async with groq() as s:
        s.mock.script(tool_use_failed(generation))
        raw = await s.sdk().chat.completions.with_raw_response.create(model=s.model, messages=HI, tools=[WEATHER])
        answer = raw.parse()
        [call] = answer.choices[0].message.tool_calls
        assert (call.function.name, orjson.loads(call.function.arguments)) == ("weather", {"city": "Rome"})
        assert answer.choices[0].finish_reason == "tool_calls"
        assert len(s.mock.calls) == 1
        trail = await s.trail(raw.headers["x-stockyard-trace-id"], "groqshim")
        assert ("rescued_tool_call", {"calls": 1}) in trail


async def test_a_failed_tool_call_is_rescued_in_a_stream() -> None:
    async with groq() as s:
        error = orjson.loads(tool_use_failed(FAILED).body or b"")
        s.mock.script(stream(chunk({"role": "assistant"}), error, done=False), tool_use_failed(FAILED))
        for _ in range(2):
            parts = await streamed(s, tools=[WEATHER])
            calls = [call for part in parts for choice in part.choices for call in choice.delta.tool_calls or ()]
            assert orjson.loads(calls[0].function.arguments) == {"city": "Rome"}
            assert parts[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "generation",
    ['<function=nobody>{"city": "Rome"}</function>', '<function=weather>{"town": 1}</function>', "just talk"],
)
async def test_what_cannot_be_rescued_is_asked_for_once_more_and_colder(generation: Any) -> None:
    async with groq() as s:
        s.mock.script(tool_use_failed(generation), whole(completion("sunny")))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI, tools=[WEATHER], temperature=0.8)
        assert answer.choices[0].message.content == "sunny"
        assert [call.json()["temperature"] for call in s.mock.calls] == [0.8, 0.4]
        s.mock.script(tool_use_failed(generation), tool_use_failed(generation))
        with pytest.raises(openai.BadRequestError):
            await s.sdk().chat.completions.create(model=s.model, messages=HI, tools=[WEATHER])
    async with groq({"rescue_tool_calls": False}) as s:
        s.mock.script(tool_use_failed(FAILED))
        with pytest.raises(openai.BadRequestError):
            await s.sdk().chat.completions.create(model=s.model, messages=HI, tools=[WEATHER])


async def test_several_choices_are_several_calls_joined() -> None:
    async with groq({"emulate_n": True}) as s:
        raw = await s.sdk().chat.completions.with_raw_response.create(model=s.model, messages=HI, n=3)
        answer = raw.parse()
        assert [(choice.index, choice.message.content) for choice in answer.choices] == [
            (i, "echo: hi") for i in range(3)
        ]
        one = orjson.loads((await s.chat("hi")).content)["usage"]
        assert answer.usage.completion_tokens == 3 * one["completion_tokens"]
        assert len(s.mock.calls) == 4 and not any("n" in call.json() for call in s.mock.calls)
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert [attempt["n"] for attempt in trace["attempts"]] == [1, 2, 3]
        assert trace["tokens_out"] == answer.usage.completion_tokens


async def test_several_choices_are_streamed_together() -> None:
    async with groq({"emulate_n": True}) as s:
        parts = await streamed(s, n=2, stream_options={"include_usage": True})
        texts = {0: "", 1: ""}
        for part in parts:
            for choice in part.choices:
                texts[choice.index] += choice.delta.content or ""
        assert texts == {0: "echo: hi", 1: "echo: hi"}
        assert len({part.id for part in parts}) == 1
        assert parts[-1].choices == [] and parts[-1].usage.completion_tokens > 0
        assert sorted(c.index for p in parts for c in p.choices if c.finish_reason) == [0, 1]


async def test_when_one_of_several_fails_the_call_fails_and_the_others_are_given_up() -> None:
    async with groq({"emulate_n": True}) as s:
        s.mock.script(status(500, "broke"), stall(0, "a b c"))
        with pytest.raises(openai.InternalServerError):
            await s.sdk().chat.completions.create(model=s.model, messages=HI, n=2, stream=True)
        s.mock.script(text("fine"), text("fine"))
        assert len((await s.sdk().chat.completions.create(model=s.model, messages=HI, n=2)).choices) == 2


async def test_usage_and_errors_are_found_where_groq_puts_them() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    async with groq() as s:
        last = chunk({}, "stop", x_groq={"id": "req_1", "usage": usage})
        s.mock.script(
            stream(
                chunk({"role": "assistant", "content": ""}), chunk({"reasoning": "hm"}), chunk({"content": "a"}), last
            ),
            stream(chunk({"role": "assistant", "content": "a"}), chunk({}, x_groq={"error": "over capacity"})),
        )
        parts = await streamed(s, stream_options={"include_usage": True})
        assert text_of(parts) == "a"
        assert parts[1].choices[0].delta.model_extra["reasoning_content"] == "hm"
        assert parts[-1].usage.total_tokens == 9 and parts[-1].choices == []
        with pytest.raises(openai.APIError, match="over capacity"):
            await streamed(s)
        s.mock.script(whole(completion("a", message={"reasoning": "hm"})))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert answer.choices[0].message.model_extra["reasoning_content"] == "hm"


async def test_flex_capacity_and_too_many_tokens_have_codes_to_act_on() -> None:
    async with groq({"service_tier": "flex"}) as s:
        s.mock.script(whole({"error": {"message": "capacity exceeded"}}, 498))
        with pytest.raises(openai.InternalServerError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
        assert sent(s)["service_tier"] == "flex"
        said = "Request too large for model on tokens per minute (TPM): Limit 6000, Requested 9000"
        s.mock.script(whole({"error": {"message": said, "code": "rate_limit_exceeded"}}, 413))
        with pytest.raises(openai.RateLimitError) as limited:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert limited.value.code == "tokens_per_minute" and "9000" in limited.value.message


async def test_a_schema_is_put_into_words_for_models_without_it() -> None:
    wanted: Any = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object", "title": "Answer1"}},
    }
    async with groq() as s:
        await s.sdk().chat.completions.create(model=s.model, messages=HI, response_format=wanted)
        body = sent(s)
        assert body["response_format"] == {"type": "json_object"}
        assert "Answer1" in body["messages"][0]["content"] and body["messages"][1:] == HI
        await s.sdk().chat.completions.create(model="groq/openai/gpt-oss-20b", messages=HI, response_format=wanted)
        assert sent(s)["response_format"] == wanted
