"""A provider's own limit on a whole call holds whatever modules are on."""

import time

import openai
import pytest

from tests.mock_replies import delay, stall
from tests.mock_upstream import MockUpstream, until
from tests.modules.conftest import pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

HI = [{"role": "user", "content": "hi"}]


def slow(mock: MockUpstream) -> str:
    return "".join(
        f'[providers.{name}]\nbase_url = "{mock.url}"\napi_key = "key-{name}-1"\ntype = "{name}"\ntimeout_s = 0.15\n'
        for name in ("openai", "groq")
    )


@pytest.mark.parametrize("timeout", [True, False])
@pytest.mark.parametrize("model", ["openai/m", "groq/m"])
async def test_a_call_is_given_up_after_the_providers_limit(timeout: bool, model: str) -> None:
    async with running({"timeout": timeout, "retry": False}, providers=slow) as s:
        s.mock.script(delay(20))
        began = time.monotonic()
        with pytest.raises(openai.InternalServerError) as caught:
            await s.sdk().chat.completions.create(model=model, messages=HI)  # type: ignore[arg-type]
        assert caught.value.status_code == 504 and time.monotonic() - began < 10
        await until(lambda: s.mock.calls[0].hung_up)


@pytest.mark.parametrize("timeout", [True, False])
async def test_a_stream_is_given_up_too(timeout: bool) -> None:
    async with running({"timeout": timeout, "retry": False}, providers=slow) as s:
        s.mock.script(stall(2, "one two three"))
        said = ""
        with pytest.raises(openai.APIError):
            stream = await s.sdk().chat.completions.create(model="openai/m", messages=HI, stream=True)  # type: ignore[arg-type]
            async for part in stream:  # type: ignore[union-attr]
                said += part.choices[0].delta.content or ""
        assert said == "one two "
        await until(lambda: s.mock.calls[0].hung_up)


async def test_what_is_in_time_is_not_touched() -> None:
    async with running({"timeout": False}, providers=slow) as s:
        answer = await s.sdk().chat.completions.create(model="openai/m", messages=HI)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == "echo: hi"
        parts = await s.sdk().chat.completions.create(model="openai/m", messages=HI, stream=True)  # type: ignore[arg-type]
        assert "".join([part.choices[0].delta.content or "" async for part in parts]) == "echo: hi"  # type: ignore[union-attr]
