"""Retries as callers and providers see them."""

from time import monotonic

import openai
import pytest

from tests.mock_replies import drop, hang_up, status, text
from tests.modules.conftest import running

FAST = {"retry": {"base_delay_s": 0.001}}


async def test_two_503s_are_not_seen_by_the_caller() -> None:
    async with running(FAST) as s:
        s.mock.script(status(503), status(503), text("ok"))
        raw = await s.sdk().chat.completions.with_raw_response.create(
            model=s.model, messages=[{"role": "user", "content": "hi"}]
        )
        answer = raw.parse()
        assert answer.choices[0].message.content == "ok"
        assert len(s.mock.calls) == 3
        assert raw.headers["x-stockyard-attempts"] == "3"
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert [attempt["status"] for attempt in trace["attempts"]] == [503, 503, 200]
        assert trace["attempts_count"] == 3


async def test_a_400_is_asked_once() -> None:
    async with running(FAST) as s:
        s.mock.script(status(400), text("no"))
        with pytest.raises(openai.BadRequestError):
            await s.sdk().chat.completions.create(model=s.model, messages=[{"role": "user", "content": "hi"}])
        assert len(s.mock.calls) == 1


async def test_retry_after_is_waited_for() -> None:
    async with running(FAST) as s:
        s.mock.script(status(429, headers={"retry-after-ms": "150"}), text("ok"))
        began = monotonic()
        answer = await s.chat()
        assert answer.json()["choices"][0]["message"]["content"] == "ok"
        assert monotonic() - began >= 0.15
        assert int(answer.headers["x-stockyard-overhead-us"]) < 150_000


async def test_a_lost_connection_is_repeated() -> None:
    async with running(FAST) as s:
        s.mock.script(hang_up(), text("ok"))
        assert (await s.chat()).json()["choices"][0]["message"]["content"] == "ok"


async def test_a_stream_is_repeated_before_its_first_content_and_never_after() -> None:
    async with running(FAST) as s:
        s.mock.script(status(500), drop(2, "one two three"), text("never"))
        said = ""
        with pytest.raises(openai.APIError):
            stream = await s.sdk().chat.completions.create(
                model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
            )
            async for chunk in stream:
                said += chunk.choices[0].delta.content or ""
        assert said == "one two "
        assert len(s.mock.calls) == 2
