"""deepseekshim over HTTP, with the official SDK."""

from typing import Any

import openai
import orjson
import pytest

from tests.mock_replies import Reply
from tests.modules.conftest import pytest_asyncio_loop_factories
from tests.modules.openai_like import (
    HI,
    PNG,
    WEATHER,
    check_common,
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

TAIL = "/deepseek"


def deepseek(settings: dict[str, Any] | None = None, model: str = "deepseek-chat", **modules: Any) -> Any:
    own = {"deepseekshim": settings} if settings is not None else {}
    return provider("deepseek", TAIL, model, {**own, **modules})


async def test_text_tools_streams_and_errors() -> None:
    async with deepseek() as s:
        await check_common(s)


async def test_thinking_comes_with_the_answer_and_does_not_go_back() -> None:
    async with deepseek(model="deepseek-reasoner") as s:
        s.mock.script(whole(completion("4", message={"reasoning_content": "2 and 2"})))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        message = answer.choices[0].message
        assert message.model_extra["reasoning_content"] == "2 and 2"
        history: list[Any] = [*HI, message.model_dump(exclude_none=True), {"role": "user", "content": "and 3?"}]
        assert "reasoning_content" in history[1]
        await s.sdk().chat.completions.create(model=s.model, messages=history)
        assert sent(s)["messages"] == [*HI, {"role": "assistant", "content": "4"}, history[2]]


async def test_thinking_goes_back_within_a_round_of_tools_of_models_that_need_it() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    history: list[Any] = [
        *HI,
        {"role": "assistant", "content": "x", "reasoning_content": "old"},
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "reasoning_content": "new", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    async with deepseek({"keep_reasoning_models": ["deepseek-v3*"]}, model="deepseek-v3.2") as s:
        s.mock.script(whole(completion()), whole(completion()))
        await s.sdk().chat.completions.create(model=s.model, messages=history, tools=[WEATHER])
        assert [message.get("reasoning_content") for message in sent(s)["messages"]] == [None, None, None, "new", None]
        await s.sdk().chat.completions.create(model="deepseek/deepseek-chat", messages=history, tools=[WEATHER])
        assert not any("reasoning_content" in message for message in sent(s)["messages"])


async def test_blank_lines_before_the_answer_and_comments_in_a_stream_are_passed_over() -> None:
    async with deepseek() as s:
        s.mock.script(Reply(body=b"\n" * 20 + orjson.dumps(completion("a"))))
        assert (await s.sdk().chat.completions.create(model=s.model, messages=HI)).choices[0].message.content == "a"
        s.mock.script(
            stream(
                ": keep-alive\n\n", chunk({"role": "assistant", "content": "a"}), ": keep-alive\n\n", chunk({}, "stop")
            )
        )
        assert text_of(await streamed(s)) == "a"


CACHED = {
    "prompt_tokens": 1_000_000,
    "completion_tokens": 0,
    "total_tokens": 1_000_000,
    "prompt_cache_hit_tokens": 400_000,
    "prompt_cache_miss_tokens": 600_000,
}


async def test_what_was_read_from_the_cache_has_the_caches_price() -> None:
    prices = (
        '[prices."deepseek/deepseek-chat"]\nin_usd_per_mtok = 1\nout_usd_per_mtok = 2\ncached_in_usd_per_mtok = 0.1\n'
    )
    async with provider("deepseek", TAIL, "deepseek-chat", more=prices) as s:
        s.mock.script(whole(completion("a", usage=CACHED)))
        raw = await s.sdk().chat.completions.with_raw_response.create(model=s.model, messages=HI)
        usage: Any = raw.parse().usage
        assert usage.prompt_tokens_details.cached_tokens == 400_000
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert trace["cost_usd"] == pytest.approx(0.6 + 0.04)
        s.mock.script(stream(chunk({"role": "assistant", "content": "a"}), chunk({}, "stop", usage=CACHED)))
        parts = await streamed(s, stream_options={"include_usage": True})
        assert parts[-1].usage.prompt_tokens_details.cached_tokens == 400_000 and parts[-1].choices == []


async def test_a_schema_is_put_into_words_and_json_is_always_said() -> None:
    wanted: Any = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": {"type": "object", "title": "Answer1"}},
    }
    async with deepseek() as s:
        await s.sdk().chat.completions.create(model=s.model, messages=HI, response_format=wanted)
        body = sent(s)
        assert body["response_format"] == {"type": "json_object"} and "Answer1" in body["messages"][0]["content"]
        await s.sdk().chat.completions.create(model=s.model, messages=HI, response_format={"type": "json_object"})
        assert "json" in orjson.dumps(sent(s)["messages"]).decode().lower()
        asked: list[Any] = [{"role": "user", "content": "as JSON please"}]
        await s.sdk().chat.completions.create(model=s.model, messages=asked, response_format={"type": "json_object"})
        assert sent(s)["messages"] == asked


async def test_reasoning_models_are_not_steered() -> None:
    async with deepseek(model="deepseek-reasoner") as s:
        raw = await s.sdk().chat.completions.with_raw_response.create(
            model=s.model, messages=HI, temperature=0.1, top_p=0.9, logprobs=True, seed=3
        )
        assert not {"temperature", "top_p", "logprobs", "seed"} & set(sent(s))
        trail = await s.trail(raw.headers["x-stockyard-trace-id"], "deepseekshim")
        assert trail[0][1]["dropped"] == ["seed", "temperature", "top_p", "logprobs"]
    async with deepseek() as s:
        await s.sdk().chat.completions.create(model=s.model, messages=HI, temperature=0.1, reasoning_effort="high")
        assert (sent(s)["temperature"], sent(s)["thinking"]) == (0.1, {"type": "enabled"})


async def test_a_prefix_is_continued_at_the_beta_address() -> None:
    async with deepseek() as s:
        messages: list[Any] = [*HI, {"role": "assistant", "content": "Once", "prefix": True}]
        s.mock.script(whole(completion(" upon a time")))
        await s.sdk().chat.completions.create(model=s.model, messages=messages)
        assert s.mock.calls[-1].path.endswith("/beta/chat/completions")
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert "beta" not in s.mock.calls[-1].path


async def test_an_answer_broken_off_for_lack_of_resources_can_be_tried_again() -> None:
    async with deepseek() as s:
        s.mock.script(whole(completion("a", choice={"finish_reason": "insufficient_system_resource"})))
        with pytest.raises(openai.InternalServerError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
        s.mock.script(stream(chunk({"role": "assistant", "content": "a"}), chunk({}, "insufficient_system_resource")))
        with pytest.raises(openai.APIError, match="lack of resources"):
            await streamed(s)
    async with deepseek(retry={"base_delay_s": 0.01}) as s:
        s.mock.script(whole(completion("a", choice={"finish_reason": "insufficient_system_resource"})))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert answer.choices[0].message.content == "echo: hi"


async def test_an_account_without_credit_is_a_402_that_is_not_to_be_repeated() -> None:
    async with deepseek() as s:
        s.mock.script(
            whole(
                {
                    "error": {
                        "message": "Insufficient Balance",
                        "type": "unknown_error",
                        "code": "invalid_request_error",
                    }
                },
                402,
            )
        )
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert (caught.value.status_code, caught.value.code) == (402, "insufficient_credit")
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert "Insufficient Balance" in caught.value.message
        s.mock.script(whole({"error": {"message": "bad field"}}, 422))
        with pytest.raises(openai.BadRequestError, match="bad field"):
            await s.sdk().chat.completions.create(model=s.model, messages=HI)


async def test_an_image_is_refused_before_it_is_sent() -> None:
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PNG}}]
    async with deepseek() as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=[{"role": "user", "content": content}])
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "messages[0].content[1]")
        assert list(s.mock.calls) == []
        texts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        await s.sdk().chat.completions.create(model=s.model, messages=[{"role": "user", "content": texts}])
        assert sent(s)["messages"] == [{"role": "user", "content": "a\nb"}]


async def test_a_key_whose_account_is_empty_is_set_aside() -> None:
    keys = [{"name": name, "provider": "deepseek", "key": f"pooled-key-{name}-1"} for name in ("one", "two")]
    async with deepseek(keypool={"keys": keys, "strategy": "priority"}) as s:
        s.mock.script(whole({"error": {"message": "Insufficient Balance"}}, 402))
        for _ in range(2):
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert [call.key for call in s.mock.calls] == ["pooled-key-one-1", *["pooled-key-two-1"] * 2]


async def test_the_thinking_of_a_callers_other_dialect_goes_back_too() -> None:
    messages: list[Any] = [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I need the tool", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]},
    ]
    body = {
        "model": "deepseek/deepseek-v3.2",
        "max_tokens": 50,
        "messages": messages,
        "tools": [{"name": "weather", "input_schema": WEATHER["function"]["parameters"]}],
    }
    for keep, expected in ((["deepseek-v3*"], "I need the tool"), ([], None)):
        async with deepseek({"keep_reasoning_models": keep}) as s:
            s.mock.script(whole(completion("sunny")))
            answer = await s.http().post("/v1/messages", json=body)
            assert answer.status_code == 200, answer.text
            [assistant] = [one for one in sent(s)["messages"] if one["role"] == "assistant"]
            assert assistant.get("reasoning_content") == expected and assistant["tool_calls"]


async def test_thinking_that_led_to_a_tool_call_stays_in_every_later_turn() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    history: list[Any] = [
        *HI,
        {"role": "assistant", "content": "", "reasoning_content": "tool", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny.", "reasoning_content": "said"},
        {"role": "user", "content": "thanks"},
    ]
    async with deepseek() as s:
        s.mock.script(whole(completion()))
        await s.sdk().chat.completions.create(model=s.model, messages=history, tools=[WEATHER])
        thoughts = [one.get("reasoning_content") for one in sent(s)["messages"]]
        assert thoughts == [None, "tool", None, None, None]
