"""fireworksshim over HTTP, with the official SDK."""

from typing import Any

import openai
import pytest

from tests.modules.conftest import pytest_asyncio_loop_factories
from tests.modules.openai_like import (
    HI,
    check_common,
    check_image,
    chunk,
    completion,
    provider,
    sent,
    stream,
    streamed,
    whole,
)

__all__ = ["pytest_asyncio_loop_factories"]

SHORT = "llama-v3p1-8b-instruct"


def fireworks(settings: dict[str, Any] | None = None, model: str = SHORT) -> Any:
    modules = {"fireworksshim": settings} if settings is not None else None
    return provider("fireworks", "/fireworks/inference/v1", model, modules)


async def test_text_tools_streams_and_errors() -> None:
    async with fireworks() as s:
        await check_common(s)


async def test_an_image_reaches_the_provider() -> None:
    async with fireworks() as s:
        await check_image(s)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        (SHORT, f"accounts/fireworks/models/{SHORT}"),
        (f"accounts/me/models/{SHORT}", f"accounts/me/models/{SHORT}"),
        (f"{SHORT}#accounts/me/deployments/d1", f"accounts/fireworks/models/{SHORT}#accounts/me/deployments/d1"),
        ("#me/d1", "#me/d1"),
    ],
)
async def test_names_are_written_in_full(short: Any, full: Any) -> None:
    async with fireworks(model=short) as s:
        s.mock.script(whole(completion()))
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert sent(s)["model"] == full


async def test_another_account_can_be_the_usual_one() -> None:
    async with fireworks({"account": "me"}) as s:
        s.mock.script(whole(completion()))
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert sent(s)["model"] == f"accounts/me/models/{SHORT}"


async def test_an_answer_has_room_and_a_long_prompt_is_refused() -> None:
    async with fireworks() as s:
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert (sent(s)["max_tokens"], sent(s)["context_length_exceeded_behavior"]) == (4096, "error")
        await s.sdk().chat.completions.create(
            model=s.model,
            messages=HI,
            max_completion_tokens=7,
            extra_body={"context_length_exceeded_behavior": "truncate", "top_k": 3},
        )
        body = sent(s)
        assert (body["max_tokens"], body["context_length_exceeded_behavior"], body["top_k"]) == (7, "truncate", 3)
        said = "The prompt is too long: 9000, model maximum context length: 8192"
        s.mock.script(whole({"error": {"object": "error", "type": "invalid_request_error", "message": said}}, 400))
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert caught.value.code == "context_length_exceeded"
    async with fireworks({"default_max_tokens": 100, "context_overflow": "truncate"}) as s:
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert (sent(s)["max_tokens"], sent(s)["context_length_exceeded_behavior"]) == (100, "truncate")


async def test_what_only_fireworks_has_stands_under_its_name() -> None:
    metrics = {"server-time-to-first-token": "0.1"}
    async with fireworks() as s:
        s.mock.script(
            whole(
                completion("a", choice={"raw_output": {"completion": "a"}}, perf_metrics=metrics),
                headers={"fireworks-cached-prompt-tokens": "5"},
            )
        )
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert answer.model_extra is not None and answer.model_extra["fireworks"] == {"perf_metrics": metrics}
        message = answer.choices[0].message
        assert message.model_extra is not None and message.model_extra["fireworks"] == {
            "raw_output": {"completion": "a"}
        }
        assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
        assert answer.usage.prompt_tokens_details.cached_tokens == 5


async def test_usage_of_the_last_chunk_is_a_chunk_of_its_own() -> None:
    usage = {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}
    async with fireworks() as s:
        s.mock.script(stream(chunk({"role": "assistant", "content": "a"}), chunk({}, "stop", usage=usage)))
        parts = await streamed(s, stream_options={"include_usage": True})
        assert [bool(part.choices) for part in parts] == [True, True, False]
        assert parts[-1].usage.total_tokens == 5 and parts[1].usage is None


async def test_a_suspended_account_and_an_unknown_model_say_what_to_do() -> None:
    async with fireworks() as s:
        s.mock.script(whole({"error": {"message": "Account is suspended"}}, 412))
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert (caught.value.status_code, caught.value.code) == (402, "insufficient_credit")
        near = f"accounts/fireworks/models/{SHORT}-hf"
        s.instance.chute.providers.take_listed("fireworks", (near, "accounts/fireworks/models/other"), 1)
        s.mock.script(whole({"error": {"message": "Model not found, inaccessible, and/or not deployed"}}, 404))
        with pytest.raises(openai.NotFoundError) as missing:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert missing.value.code == "model_not_found" and near in missing.value.message
