"""The cache as callers and providers see it."""

import asyncio

import openai
import pytest

from instance.server import Instance
from tests.mock_replies import delay, status, text, tool
from tests.modules.conftest import Running, running

MESSAGES = [{"role": "user", "content": "Tell me a long story, please."}]
ON = {"cachelayer": {}}


async def said(s: Running, **more: object) -> str:
    stream = await s.sdk().chat.completions.create(model=s.model, messages=MESSAGES, stream=True, **more)  # type: ignore[call-overload]
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_the_second_equal_call_is_answered_from_the_cache_whole_and_streamed() -> None:
    async with running(ON) as s:
        heads = []
        for _ in range(2):
            raw = await s.sdk().chat.completions.with_raw_response.create(model=s.model, messages=MESSAGES)
            heads.append(raw.headers)
        first = raw.parse().choices[0].message.content
        assert [head["x-stockyard-cache"] for head in heads] == ["miss", "hit"]
        assert "age" in heads[1]
        assert len(s.mock.calls) == 1
        assert await said(s) == first
        assert len(s.mock.calls) == 1
        await s.sdk().chat.completions.create(model=s.model, messages=MESSAGES, temperature=0.3)
        assert len(s.mock.calls) == 2
        trace = await s.trace(heads[1]["x-stockyard-trace-id"])
        assert (trace["status"], trace["cache"], trace["cost_usd"]) == ("cache_hit", "hit", 0)
        assert await s.trail(heads[1]["x-stockyard-trace-id"], "cachelayer") == [("hit", {"age_s": 0})]


async def test_a_stream_fills_the_cache_for_whole_calls() -> None:
    async with running(ON) as s:
        s.mock.script(text("once upon a time"))
        assert await said(s) == "once upon a time"
        answer = await s.sdk().chat.completions.create(model=s.model, messages=MESSAGES)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == "once upon a time"
        assert len(s.mock.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_twenty_equal_calls_at_once_are_one(stream: bool) -> None:
    async with running(ON) as s:
        s.mock.script(delay(0.05, "the same"))
        if stream:
            texts = await asyncio.gather(*[said(s) for _ in range(20)])
        else:
            client = s.sdk()
            answers = await asyncio.gather(
                *[client.chat.completions.create(model=s.model, messages=MESSAGES) for _ in range(20)]  # type: ignore[arg-type]
            )
            texts = [answer.choices[0].message.content or "" for answer in answers]
        assert texts == ["the same"] * 20
        assert len(s.mock.calls) == 1


async def test_only_what_is_kept_when_the_caller_says_so() -> None:
    async with running(ON) as s:
        with pytest.raises(openai.InternalServerError) as caught:
            await s.sdk().chat.completions.create(
                model=s.model,
                messages=MESSAGES,  # type: ignore[arg-type]
                extra_headers={"X-Stockyard-Cache": "only"},
            )
        assert caught.value.code == "cache_miss"
        assert not s.mock.calls


async def test_answers_come_back_from_disk_and_those_with_secrets_do_not_go_there() -> None:
    async with running(ON) as s:
        s.mock.script(text("plain"), text("the key is AKIAQZ7X3M5LN2WVB4TD"))
        await s.chat("a")
        await s.chat("b")
        await s.module("cachelayer").store.flush()
        rows = await s.instance.core.database.read(lambda c: c.execute("SELECT body FROM cached_answers").fetchall())
        assert len(rows) == 1
        assert b"plain" in rows[0][0]
        await s.configure({"cachelayer": False})
        await s.configure({"cachelayer": True})
        answer = await s.chat("a")
        assert answer.headers["x-stockyard-cache"] == "hit"
        assert answer.json()["choices"][0]["message"]["content"] == "plain"
        assert isinstance(s.instance, Instance)


@pytest.mark.parametrize("cache_tools", [False, True])
async def test_an_answer_that_was_asked_for_again_keeps_no_equal_call_waiting(cache_tools: bool) -> None:
    on = {"cachelayer": {"cache_tools": cache_tools}, "toolshield": {"deny": ["rm_*"]}}
    offered = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "ab"]
    async with running(on) as s:
        s.mock.script(tool("c", {}), text("no call"), text("no call either"))
        for _ in range(2):
            body = s.body(tools=offered)
            answer = await asyncio.wait_for(s.http().post("/v1/chat/completions", json=body), 5)
            assert answer.status_code == 200
        assert len(s.mock.calls) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_a_model_that_stood_in_is_not_kept_as_the_asked_ones(stream: bool) -> None:
    chains = [{"match": "*small", "targets": ["up/large"]}]
    async with running({**ON, "fallbackrouter": {"chains": chains}, "retry": False}) as s:
        s.mock.script(status(503), text("large"), text("small"))
        for expected in ("large", "small", "small"):
            assert expected in (await s.chat(stream=stream)).text
        assert [call.json()["model"] for call in s.mock.calls] == ["small", "large", "small"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_of_a_downgraded_retry_is_not_kept(stream: bool) -> None:
    retry = {"max_retries": 1, "base_delay_s": 0, "downgrade": {"small": "up/large"}}
    async with running({**ON, "retry": retry}) as s:
        s.mock.script(status(503))
        for _ in range(3):
            assert (await s.chat(stream=stream)).status_code == 200
        assert [call.json()["model"] for call in s.mock.calls] == ["small", "large", "small"]
