"""Responses and completions in front of providers with a dialect of their own: what they think comes back to them."""

from typing import Any

import openai
import pytest

from tests.modules.conftest import pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

CLAUDE = "anthropic/claude-sonnet-4-5"
GEMINI = "gemini/gemini-2.5-flash"
OTHERS = (CLAUDE, GEMINI, "ollama/llama3", "cohere/command-r")
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def shimmed(mock: Any) -> str:
    rows = (
        ("anthropic", "/anthropic", "claude-sonnet-4-5"),
        ("gemini", "/gemini/v1beta", "gemini-2.5-flash"),
        ("ollama", "/ollama", "llama3"),
        ("cohere", "/cohere", "command-r"),
    )
    return "".join(
        f'[providers.{name}]\nbase_url = "{mock.root}{path}"\napi_key = "key-of-{name}"\nmodels = ["{model}"]\n'
        for name, path, model in rows
    )


def instance() -> Any:
    return running(providers=shimmed)


@pytest.mark.parametrize("model", OTHERS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tools_round_trip_by_previous_response_id(model: str, stream: bool) -> None:
    async with instance() as s:
        sdk = s.sdk()
        if stream:
            async with sdk.responses.stream(model=model, input="please call weather", tools=[WEATHER]) as opened:
                asked: Any = await opened.get_final_response()
        else:
            asked = await sdk.responses.create(model=model, input="please call weather", tools=[WEATHER])
        (call,) = [item for item in asked.output if item.type == "function_call"]
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        answer = await sdk.responses.create(model=model, input=[output], previous_response_id=asked.id, tools=[WEATHER])
        assert "rain" in answer.output_text
        assert answer.usage is not None


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_signed_thought_comes_back_to_who_thought_it(stored: bool, stream: bool) -> None:
    async with instance() as s:
        sdk = s.sdk()
        question: Any = [{"role": "user", "content": "please call weather"}]
        more: Any = {
            "model": CLAUDE,
            "tools": [WEATHER],
            "reasoning": {"effort": "low"},
            "max_output_tokens": 4000,
            "store": stored,
        }
        if stream:
            async with sdk.responses.stream(input=question, **more) as opened:
                asked: Any = await opened.get_final_response()
        else:
            asked = await sdk.responses.create(input=question, **more)
        thought, call = asked.output
        assert thought.type == "reasoning"
        assert thought.summary[0].text
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        if stored:
            await sdk.responses.create(input=[output], previous_response_id=asked.id, **more)
        else:
            kept = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in asked.output]
            await sdk.responses.create(input=[*question, *kept, output], **more)
        turn = s.mock.calls[-1].json()["messages"][1]
        assert [block["type"] for block in turn["content"]] == ["thinking", "tool_use"]
        assert turn["content"][0]["signature"]
        assert turn["content"][0]["thinking"] == thought.summary[0].text


async def test_a_conversation_goes_from_one_provider_to_the_next() -> None:
    async with instance() as s:
        sdk = s.sdk()
        previous: Any = openai.omit
        for number, model in enumerate((*OTHERS, "up/small")):
            answer = await sdk.responses.create(model=model, input=f"turn {number}", previous_response_id=previous)
            assert answer.output_text == f"echo: turn {number}"
            previous = answer.id
        sent = s.mock.calls[-1].json()["messages"]
        assert [message["content"] for message in sent if message["role"] == "user"] == [f"turn {n}" for n in range(5)]
        assert not any("reasoning" in str(message.keys()) for message in sent)


@pytest.mark.parametrize("model", OTHERS)
async def test_what_the_provider_lacks_is_refused_before_it_is_asked(model: str) -> None:
    async with instance() as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().responses.create(
                model=model, input="hi", tools=[{"type": "file_search", "vector_store_ids": ["vs_1"]}]
            )
        assert (caught.value.code, caught.value.param) == ("not_supported", "tools[0]")
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().completions.create(model=model, prompt="hi", suffix="z")
        assert (caught.value.code, caught.value.param) == ("not_supported", "suffix")
        assert not s.mock.calls


@pytest.mark.parametrize("model", OTHERS)
async def test_text_completions(model: str) -> None:
    async with instance() as s:
        answer = await s.sdk().completions.create(model=model, prompt="hi there")
        assert answer.choices[0].text == "echo: hi there"
        stream = await s.sdk().completions.create(model=model, prompt="hi there", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "echo: hi there"
