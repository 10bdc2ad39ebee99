"""The four dialects against the mock that is as strict as their providers: the same calls, whole and streamed."""

from base64 import b64encode
from typing import Any

import openai
import orjson
import pytest

from instance.mock_upstream import replies
from instance.mock_upstream.server import MockUpstream
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running
from tests.modules.sdk_answers import PNG, TOOLS, pictured, spoken

__all__ = ["pytest_asyncio_loop_factories"]

MODELS = {"gemini": "gemini-2.5-flash", "cohere": "command-a-03-2025", "ollama": "llama3.2"}
DIALECTS = sorted(MODELS)


def providers(mock: MockUpstream) -> str:
    return "\n".join(
        f'[providers.my-{name}]\ntype = "{name}"\nbase_url = "{mock.at(name)}"\napi_key = "{name}-key-1"\n'
        f'models = ["{model}"]\n'
        for name, model in MODELS.items()
    )


def speaking(**modules: Any) -> Any:
    return running({"retry": False, **modules}, providers=providers)


def model_of(dialect: str) -> str:
    return f"my-{dialect}/{MODELS[dialect]}"


async def both(s: Running, **req: Any) -> dict[str, Any]:
    """What was said whole, after checking that the stream says the same."""
    whole = await spoken(s, False, **req)
    streamed = await spoken(s, True, **req)
    assert _comparable(streamed) == _comparable(whole)
    return whole


def _comparable(said: dict[str, Any]) -> dict[str, Any]:
    calls = [{**call, "id": bool(call["id"])} for call in said["tool_calls"]]
    kept: dict[str, Any] = {
        name: said[name] for name in ("content", "reasoning_content", "finish_reason", "usage") if name in said
    }
    return {**kept, "content": kept["content"] or "", "tool_calls": calls}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_text(dialect: str) -> None:
    async with speaking() as s:
        said = await both(
            s,
            model=model_of(dialect),
            messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "Grüß Gott"}],
            temperature=0.5,
            top_p=0.9,
            max_tokens=50,
            stop=["END"],
            seed=1,
        )
        assert said["content"] == "echo: Grüß Gott"
        assert said["finish_reason"] == "stop"
        assert said["usage"]["prompt_tokens"] > 0 and said["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_whole_round_of_two_parallel_tools(dialect: str, streamed: bool) -> None:
    async with speaking() as s:
        model = model_of(dialect)
        messages: list[Any] = [{"role": "user", "content": "call weather and call tides"}]
        said = await spoken(s, streamed, model=model, messages=messages, tools=TOOLS)
        assert said["finish_reason"] == "tool_calls"
        calls = said["tool_calls"]
        assert [call["function"]["name"] for call in calls] == ["weather", "tides"]
        assert len({call["id"] for call in calls}) == 2
        assert all(isinstance(orjson.loads(call["function"]["arguments"])["city"], str) for call in calls)
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": f"result {number}"}
            for number, call in enumerate(calls)
        ]
        said = await spoken(s, streamed, model=model, messages=messages, tools=TOOLS)
        assert said["finish_reason"] == "stop"
        assert "result 0" in said["content"] and "result 1" in said["content"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_image(dialect: str) -> None:
    async with speaking() as s:
        url = f"data:image/png;base64,{b64encode(PNG).decode()}"
        said = await both(s, model=model_of(dialect), messages=pictured(url))
        assert said["content"] == f"echo: see [image/png {len(PNG)} bytes]"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_structured_output(dialect: str) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/City"}, "degrees": {"type": "integer"}},
        "required": ["city", "degrees"],
        "additionalProperties": False,
        "$defs": {"City": {"type": "string"}},
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema, "strict": True}}
    async with speaking() as s:
        said = await both(
            s, model=model_of(dialect), messages=[{"role": "user", "content": "hi"}], response_format=form
        )
        assert set(orjson.loads(said["content"])) == {"city", "degrees"}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_thinking(dialect: str) -> None:
    async with speaking() as s:
        for _ in range(2):
            s.mock.script(replies.thinking("hm, let me see", "the answer"))
        messages: Any = [{"role": "user", "content": "hi"}]
        said = await both(s, model=model_of(dialect), messages=messages, reasoning_effort="low")
        assert (said["reasoning_content"], said["content"]) == ("hm, let me see", "the answer")


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_limit_on_tokens_ends_an_answer(dialect: str) -> None:
    async with speaking() as s:
        for _ in range(2):
            s.mock.script(replies.text("cut off he", finish="length"))
        said = await both(s, model=model_of(dialect), messages=[{"role": "user", "content": "hi"}])
        assert said["finish_reason"] == "length"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, openai.BadRequestError, "bad_request"),
        (401, openai.InternalServerError, "provider_auth_failed"),
        (429, openai.RateLimitError, "rate_limited"),
        (500, openai.InternalServerError, "provider_error"),
    ],
)
async def test_errors_have_the_right_class(
    dialect: str, streamed: bool, status: int, error: type[openai.APIStatusError], code: str
) -> None:
    async with speaking() as s:
        s.mock.script(replies.status(status, "scripted words"))
        with pytest.raises(error, match="scripted words") as caught:
            messages: Any = [{"role": "user", "content": "hi"}]
            await spoken(s, streamed, model=model_of(dialect), messages=messages)
        assert caught.value.code == code


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_fails_in_its_middle_ends_in_an_error(dialect: str) -> None:
    async with speaking() as s:
        s.mock.script(replies.failing(1, 500, "scripted words", "one two three four five six"))
        with pytest.raises(openai.APIError):
            await spoken(s, True, model=model_of(dialect), messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_breaks_off_is_an_error(dialect: str) -> None:
    async with speaking() as s:
        s.mock.script(replies.drop(2, "one two three four five six"))
        with pytest.raises(openai.APIError):
            await spoken(s, True, model=model_of(dialect), messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_in_tiny_pieces_says_the_same(dialect: str) -> None:
    async with speaking() as s:
        s.mock.script(replies.text("Grüße aus Bergen", slice_bytes=3))
        said = await spoken(s, True, model=model_of(dialect), messages=[{"role": "user", "content": "hi"}])
        assert said["content"] == "Grüße aus Bergen"
