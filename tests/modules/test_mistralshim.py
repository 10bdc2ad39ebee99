"""mistralshim over HTTP, with the official SDK."""

from typing import Any

import openai
import orjson
import pytest

from tests.mock_replies import Reply
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

LONG_ID = "call_abc123defghijklmnop"


def mistral(settings: dict[str, Any] | None = None) -> Any:
    modules = {"mistralshim": settings} if settings is not None else None
    return provider("mistral", "/mistral/v1", "mistral-small-latest", modules)


async def test_text_tools_streams_and_errors() -> None:
    async with mistral() as s:
        await check_common(s)


async def test_an_image_reaches_the_provider() -> None:
    async with mistral() as s:
        await check_image(s)


async def test_a_call_that_needs_no_change_goes_and_comes_byte_for_byte() -> None:
    async with mistral() as s:
        body = orjson.dumps({"messages": HI, "model": "mistral-small-latest", "temperature": 0.5})
        answer = b" " + orjson.dumps(completion("hello"))
        s.mock.script(Reply(body=answer))
        headers = {"X-Stockyard-Provider": "mistral", "content-type": "application/json"}
        came = await s.http().post("/v1/chat/completions", content=body, headers=headers)
        assert s.mock.calls[-1].body == body
        assert came.content == answer[1:]


async def test_long_ids_of_tool_calls_arrive_short_and_the_same_in_call_and_result() -> None:
    async with mistral() as s:
        history: list[Any] = [
            *HI,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": LONG_ID, "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
                ],
            },
            {"role": "tool", "tool_call_id": LONG_ID, "content": "sunny"},
        ]
        new = {"id": "D681PevKs", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
        s.mock.script(whole(completion("", message={"tool_calls": [new]}, choice={"finish_reason": "tool_calls"})))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=history, tools=[WEATHER])
        arrived = sent(s)["messages"]
        short = arrived[1]["tool_calls"][0]["id"]
        assert len(short) == 9 and short.isalnum()
        assert arrived[2]["tool_call_id"] == short
        calls = answer.choices[0].message.tool_calls
        assert calls is not None
        history += [
            {"role": "assistant", "content": "", "tool_calls": [calls[0].model_dump()]},
            {"role": "tool", "tool_call_id": calls[0].id, "content": "rain"},
        ]
        await s.sdk().chat.completions.create(model=s.model, messages=history, tools=[WEATHER])
        again = sent(s)["messages"]
        assert again[1]["tool_calls"][0]["id"] == again[2]["tool_call_id"] == short
        assert again[3]["tool_calls"][0]["id"] == again[4]["tool_call_id"] == "D681PevKs"


async def test_a_422_is_a_400_that_can_be_read() -> None:
    problem = {"detail": [{"type": "extra_forbidden", "loc": ["body", "messages", 0, "foo"], "msg": "Extra inputs"}]}
    async with mistral() as s:
        s.mock.script(whole(problem, 422))
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert caught.value.param == "messages.0.foo"
        assert "messages.0.foo: Extra inputs" in caught.value.message


async def test_names_are_mistrals_and_what_it_has_not_is_told() -> None:
    async with mistral() as s:
        s.mock.script(whole(completion()))
        raw = await s.sdk().chat.completions.with_raw_response.create(
            model=s.model,
            messages=[{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi", "name": "ada"}],
            seed=7,
            max_completion_tokens=20,
            tools=[WEATHER],
            tool_choice="required",
            logit_bias={"1": 5},
            user="u-1",
        )
        body = sent(s)
        assert (body["random_seed"], body["max_tokens"], body["tool_choice"]) == (7, 20, "any")
        assert body["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
        assert not {"seed", "max_completion_tokens", "logit_bias", "user", "stream_options"} & set(body)
        trail = await s.trail(raw.headers["x-stockyard-trace-id"], "mistralshim")
        assert trail == [("shim", {"dialect": "mistral", "dropped": ["logit_bias", "user", "messages[].name"]})]


async def test_on_reject_the_first_such_field_is_refused() -> None:
    async with mistral({"on_unsupported": "reject"}) as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI, logit_bias={"1": 5})
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "logit_bias")
        assert list(s.mock.calls) == []


async def test_a_final_word_of_the_assistant_is_continued() -> None:
    messages: list[Any] = [*HI, {"role": "assistant", "content": "Once upon"}]
    async with mistral() as s:
        await s.sdk().chat.completions.create(model=s.model, messages=messages)
        assert sent(s)["messages"][-1] == {"role": "assistant", "content": "Once upon", "prefix": True}
    async with mistral({"prefix_continuation": False, "safe_prompt": True}) as s:
        s.mock.script(whole(completion()))
        await s.sdk().chat.completions.create(model=s.model, messages=messages)
        assert "prefix" not in sent(s)["messages"][-1]
        assert sent(s)["safe_prompt"] is True


THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]


async def test_thinking_is_told_from_the_answer_whole_and_streamed() -> None:
    async with mistral() as s:
        s.mock.script(whole(completion(None, message={"content": THOUGHT})))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        message = answer.choices[0].message
        assert (message.content, message.model_extra["reasoning_content"]) == ("yes", "hm")
        s.mock.script(
            stream(
                chunk({"role": "assistant", "content": ""}),
                chunk({"content": THOUGHT[:1]}),
                chunk({"content": "yes"}, "model_length", usage={"prompt_tokens": 5, "completion_tokens": 2}),
            )
        )
        parts = await streamed(s, stream_options={"include_usage": True})
        assert text_of(parts) == "yes"
        assert [c.delta.model_extra.get("reasoning_content") for p in parts for c in p.choices] == [None, "hm", None]
        assert parts[2].choices[0].finish_reason == "length" and parts[2].usage is None
        assert parts[3].usage.prompt_tokens == 5 and parts[3].choices == []


async def test_an_end_by_error_is_an_error() -> None:
    async with mistral({"reasoning": "hide"}) as s:
        s.mock.script(stream(chunk({"role": "assistant", "content": "a"}), chunk({}, "error")))
        with pytest.raises(openai.APIError):
            await streamed(s)
        s.mock.script(whole(completion("a", choice={"finish_reason": "error"})))
        with pytest.raises(openai.InternalServerError):
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        s.mock.script(whole(completion(None, message={"content": THOUGHT})))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert answer.choices[0].message.content == "yes"
        assert "reasoning_content" not in answer.choices[0].message.model_extra


async def test_without_the_shim_the_provider_is_called_as_openais() -> None:
    async with provider("mistral", "/mistral/v1", "mistral-small-latest", {"mistralshim": False}) as s:
        with pytest.raises(openai.UnprocessableEntityError, match="seed"):
            await s.sdk().chat.completions.create(model=s.model, messages=HI, seed=7)
        assert sent(s)["seed"] == 7
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert answer.choices[0].message.content == "echo: hi"


async def test_embeddings_have_mistrals_names() -> None:
    async with provider("mistral", "/mistral/v1", "mistral-embed") as s:
        await s.sdk().embeddings.create(model=s.model, input=["a"], dimensions=8, encoding_format="float")
        body = sent(s)
        assert body["model"] == "mistral-embed" and body["output_dimension"] == 8 and "dimensions" not in body
