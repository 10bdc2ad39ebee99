"""togethershim over HTTP, with the official SDK."""

from typing import Any

import openai
import orjson
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
    text_of,
    whole,
)

__all__ = ["pytest_asyncio_loop_factories"]

MODEL = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
LISTED = [
    MODEL,
    "meta-llama/Meta-Llama-3.1-8B-Instruct",
    "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen3-32B-Instruct",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "mistralai/Mixtral-8x22B-Instruct-v0.1",
]
SCHEMA: Any = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def together(settings: dict[str, Any] | None = None, model: str = MODEL) -> Any:
    return provider("together", "/together/v1", model, {"togethershim": settings} if settings is not None else None)


async def test_text_tools_streams_and_errors() -> None:
    async with together() as s:
        await check_common(s)


async def test_an_image_reaches_the_provider() -> None:
    async with together() as s:
        await check_image(s)


async def test_the_size_of_an_image_arrives_as_width_and_height() -> None:
    async with together() as s:
        s.mock.script(whole({"created": 1, "data": [{"b64_json": "aGk="}]}))
        answer = await s.sdk().images.generate(
            model="together/black-forest-labs/FLUX.1-schnell",
            prompt="a cat",
            size="1024x768",
            response_format="b64_json",
            quality="high",
            extra_body={"steps": 4},
        )
        body = sent(s)
        assert (body["width"], body["height"], body["steps"]) == (1024, 768, 4)
        assert body["response_format"] == "base64" and not {"size", "quality"} & set(body)
        assert answer.data is not None and answer.data[0].b64_json == "aGk="


async def test_eos_is_stop_whole_and_streamed() -> None:
    async with together() as s:
        s.mock.script(whole(completion("a", choice={"finish_reason": "eos", "text": ""})))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert answer.choices[0].finish_reason == "stop"
        usage = {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}
        s.mock.script(
            stream(
                chunk({"role": "assistant", "content": "a"}, choice={"text": "a"}),
                chunk({"content": ""}, "eos", choice={"text": ""}, usage=usage),
            )
        )
        parts = await streamed(s, stream_options={"include_usage": True})
        assert text_of(parts) == "a"
        assert [part.choices[0].finish_reason for part in parts[:2]] == [None, "stop"]
        assert parts[1].usage is None and (parts[2].choices, parts[2].usage.total_tokens) == ([], 5)


async def test_a_schema_and_logprobs_arrive_in_their_form() -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    async with together({"safety_model": "meta-llama/Llama-Guard-4-12B"}) as s:
        s.mock.script(whole(completion('{"a": 1}')))
        answer = await s.sdk().chat.completions.create(
            model=s.model, messages=HI, response_format=wanted, logprobs=True, top_logprobs=3, extra_body={"top_k": 5}
        )
        body = sent(s)
        assert body["response_format"] == {"type": "json_schema", "schema": SCHEMA}
        assert (body["logprobs"], body["top_k"]) == (3, 5) and "top_logprobs" not in body
        assert body["safety_model"] == "meta-llama/Llama-Guard-4-12B"
        assert orjson.loads(answer.choices[0].message.content or "") == {"a": 1}


async def listed(s: Any) -> None:
    s.instance.chute.providers.take_listed("together", tuple(LISTED), 1)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("llama-3.1-8b", "meta-llama/Meta-Llama-3.1-8B-Instruct"),
        ("llama-3.1-8b-instruct-turbo", "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo"),
        ("qwen3-32b", "Qwen/Qwen3-32B"),
        ("mixtral-8x7b", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
        (MODEL, MODEL),
        ("own/model", "own/model"),
        ("nobody-knows-it", "nobody-knows-it"),
    ],
)
async def test_a_short_name_is_completed_from_the_list(short: Any, full: Any) -> None:
    async with together(model=short) as s:
        await listed(s)
        s.mock.script(whole(completion()))
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert sent(s)["model"] == full


@pytest.mark.parametrize("short", ["llama-3.3-70b", "mixtral"])
async def test_a_name_that_fits_several_or_only_a_variant_is_refused_with_the_candidates(short: Any) -> None:
    async with together(model=short) as s:
        await listed(s)
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert caught.value.param == "model"
        assert all(name in caught.value.message for name in LISTED if short in name.lower())
        assert list(s.mock.calls) == []
    async with together({"complete_names": False}, model=short) as s:
        await listed(s)
        with pytest.raises(openai.NotFoundError):
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert sent(s)["model"] == short


async def test_the_list_is_asked_for_when_a_short_name_comes() -> None:
    async with together(model="mock-sm") as s:
        s.mock.script(whole([{"id": "vendor/mock-sm-1"}]), whole(completion("a")))
        await s.sdk().chat.completions.create(model=s.model, messages=HI)
        assert [call.path.rpartition("/")[2] for call in s.mock.calls] == ["models", "completions"]
        assert sent(s)["model"] == "vendor/mock-sm-1"


async def test_overload_can_be_tried_again_and_422_is_a_400() -> None:
    async with together() as s:
        for code in (503, 529):
            s.mock.script(whole({"error": {"message": "overloaded"}}, code))
            with pytest.raises(openai.InternalServerError) as caught:
                await s.sdk().chat.completions.create(model=s.model, messages=HI)
            assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
        s.mock.script(whole({"error": {"message": "too many tokens asked"}}, 422))
        with pytest.raises(openai.BadRequestError, match="too many tokens asked"):
            await s.sdk().chat.completions.create(model=s.model, messages=HI)
