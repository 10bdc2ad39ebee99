"""Time limits as callers and providers see them."""

import openai
import pytest

from tests.mock_replies import delay, stall, text
from tests.mock_upstream import MockUpstream, until
from tests.modules.conftest import running


async def test_a_provider_that_does_not_begin_is_hung_up_on() -> None:
    async with running({"timeout": {"first_token_s": 0.1}, "retry": False}) as s:
        s.mock.script(delay(5))
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=[{"role": "user", "content": "hi"}])
        assert (caught.value.status_code, caught.value.code) == (504, "timeout_first_token")
        await until(lambda: s.mock.calls[0].hung_up)
        trace = await s.trace(caught.value.response.headers["x-stockyard-trace-id"])
        assert trace["http_status"] == 504
        assert trace["attempts"][0]["error"] == "timeout_first_token"


async def test_a_stream_that_stalls_gives_its_words_and_then_an_error() -> None:
    async with running({"timeout": {"between_tokens_s": 0.1}}) as s:
        s.mock.script(stall(3, "one two three four five"))
        said = ""
        with pytest.raises(openai.APIError) as caught:
            stream = await s.sdk().chat.completions.create(
                model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
            )
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
        assert said == "one two three "
        assert caught.value.code == "timeout_stream"
        await until(lambda: s.mock.calls[0].hung_up)


async def test_a_caller_lowers_his_own_limit() -> None:
    async with running({"retry": False}) as s:
        s.mock.script(delay(5))
        answer = await s.chat(headers={"X-Stockyard-Timeout-S": "0.1"})
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "timeout_total"


async def test_a_bad_limit_is_a_400() -> None:
    async with running() as s:
        answer = await s.chat(headers={"X-Stockyard-Timeout-S": "soon"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "X-Stockyard-Timeout-S")
        assert len(s.mock.calls) == 0


async def test_the_built_in_mock_is_limited_too() -> None:
    async with running({"timeout": {"first_token_s": 0.05}, "retry": False}) as s:
        answer = await s.http().post(
            "/v1/chat/completions",
            json={"model": "mock/gpt", "messages": [{"role": "user", "content": "hi"}], "mock": {"delay_ms": 3000}},
        )
        assert answer.json()["error"]["code"] == "timeout_first_token"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_providers_own_limit_closes_its_connection_and_leaves_the_call_time_for_another(stream: bool) -> None:
    limit = "timeout_s = 0.15\n"
    async with MockUpstream() as slow:
        row = f'[providers.slow]\nbase_url = "{slow.url}"\napi_key = "a-key-of-the-tests"\n{limit}'
        async with running({"retry": {"max_retries": 1, "base_delay_s": 0.001}}, config=row) as s:
            s.model = "slow/m"
            slow.script(delay(5), text("in time"))
            answer = await s.chat(stream=stream)
            assert answer.status_code == 200
            assert "in time" in answer.text or "in " in answer.text
            await until(lambda: slow.calls[0].hung_up)
            trace = await s.trace(answer.headers["x-stockyard-trace-id"])
            assert [row["error"] for row in trace["attempts"]] == ["timeout_first_token", None]
