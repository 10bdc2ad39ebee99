"""OpenAI's endpoints, through its own SDK."""

from __future__ import annotations

import base64
import io
from array import array
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from tests.mock_replies import blocked, status, thinking, tools
from tests.mock_upstream import MockUpstream
from tests.plain_http import NO_TLS

PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()
FUNCTION = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
async def sdk(upstream: MockUpstream) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(
        base_url=upstream.at("openai"),
        api_key="key-1",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
    ) as client:
        yield client


def user(content: object) -> list[object]:
    return [{"role": "user", "content": content}]


async def test_an_image_is_described_by_type_and_size(sdk: Any) -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    answer = await sdk.chat.completions.create(model="m", messages=user(parts))
    assert answer.choices[0].message.content == "echo: see [image/png 68 bytes]"


async def test_structured_output_is_an_instance_of_the_schema(sdk: Any) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "size": {"enum": ["big", "small"]},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 2},
        },
        "$defs": {"part": {"type": "object", "properties": {"n": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}
    answer = await sdk.chat.completions.create(model="m", messages=user("x"), response_format=form)
    assert answer.choices[0].message.content == '{"name":"x","size":"big","parts":[{"n":1},{"n":1}]}'


async def test_tool_results_are_heard_and_a_result_without_its_call_is_refused(sdk: Any) -> None:
    offered = [{"type": "function", "function": FUNCTION}]
    asked = user("call weather")
    first = await sdk.chat.completions.create(model="m", messages=asked, tools=offered)
    call = first.choices[0].message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    talk = [*asked, first.choices[0].message.model_dump(exclude_none=True), result]
    second = await sdk.chat.completions.create(model="m", messages=talk, tools=offered)
    assert second.choices[0].message.content == "echo: call weather [result sunny]"
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model="m", messages=[*asked, result], tools=offered)
    assert caught.value.param == "messages[1].role"


async def test_several_choices_come_whole_and_streamed(sdk: Any) -> None:
    whole = await sdk.chat.completions.create(model="m", messages=user("a b"), n=2)
    assert [choice.message.content for choice in whole.choices] == ["echo: a b"] * 2
    texts = {0: "", 1: ""}
    async for chunk in await sdk.chat.completions.create(model="m", messages=user("a b"), n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: "echo: a b", 1: "echo: a b"}


async def test_legacy_completions_answer_every_prompt(sdk: Any) -> None:
    answer = await sdk.completions.create(model="m", prompt=["one", "two"])
    assert [choice.text for choice in answer.choices] == ["echo: one", "echo: two"]
    text = ""
    async for chunk in await sdk.completions.create(model="m", prompt="one two", stream=True):
        text += chunk.choices[0].text
    assert text == "echo: one two"


async def test_a_stream_of_responses_ends_with_the_whole_response(sdk: Any, upstream: MockUpstream) -> None:
    upstream.script(thinking("hm", "well then"))
    text, numbers = "", []
    async for event in await sdk.responses.create(model="m", input="hi", stream=True):
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            whole = event.response
    assert text == whole.output_text == "well then"
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert numbers == list(range(len(numbers)))


async def test_responses_go_on_from_an_earlier_one(sdk: Any, upstream: MockUpstream) -> None:
    upstream.script(tools(("weather", {"city": "Oslo"})))
    offered = [{"type": "function", **FUNCTION, "strict": False}]
    first = await sdk.responses.create(model="m", input="hi", tools=offered)
    call = first.output[0]
    assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"city":"Oslo"}')
    result = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = await sdk.responses.create(model="m", input=result, previous_response_id=first.id)
    assert second.output_text == "echo: hi [result sunny]"
    assert (await sdk.responses.retrieve(second.id)).output_text == second.output_text
    await sdk.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(second.id)
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.responses.create(model="m", input="x", previous_response_id="resp_nothing")
    assert caught.value.code == "previous_response_id_not_found"


async def test_embeddings_are_the_same_in_both_encodings(sdk: Any, http: httpx2.AsyncClient) -> None:
    floats = await sdk.embeddings.create(model="e", input=["a b", "c"], encoding_format="float", dimensions=8)
    packed = await http.post(
        "/v1/embeddings", json={"model": "e", "input": ["a b", "c"], "encoding_format": "base64", "dimensions": 8}
    )
    assert [len(row.embedding) for row in floats.data] == [8, 8]
    for row, other in zip(floats.data, packed.json()["data"], strict=True):
        assert row.embedding == list(array("f", base64.b64decode(other["embedding"])))
    assert sum(value * value for value in floats.data[0].embedding) == pytest.approx(1)
    assert floats.usage.prompt_tokens == 3


async def test_a_text_with_a_category_s_name_is_flagged_for_it(sdk: Any) -> None:
    answer = await sdk.moderations.create(input=["such violence", "peace"])
    assert [result.flagged for result in answer.results] == [True, False]
    assert answer.results[0].categories.violence and not answer.results[0].categories.hate


async def test_pictures_are_made_edited_and_varied(sdk: Any, http: httpx2.AsyncClient) -> None:
    made = await sdk.images.generate(model="dall-e-3", prompt="a cow", n=2)
    assert len(made.data or []) == 2
    url = (made.data or [])[0].url or ""
    assert (await http.get(url)).content.startswith(b"\x89PNG")
    modern = await sdk.images.generate(model="gpt-image-1", prompt="a cow")
    assert base64.b64decode((modern.data or [])[0].b64_json or "").startswith(b"\x89PNG")
    file = ("cow.png", io.BytesIO(b"12345"), "image/png")
    edited = await sdk.images.edit(image=file, prompt="greener", model="dall-e-2")
    assert (edited.data or [])[0].revised_prompt == "echo: greener [image/png 5 bytes]"
    varied = await sdk.images.create_variation(image=file, n=1)
    assert (varied.data or [])[0].revised_prompt == "echo: [image/png 5 bytes]"


async def test_speech_is_sound_and_a_transcription_says_what_came(sdk: Any) -> None:
    sound = await sdk.audio.speech.create(model="tts-1", voice="alloy", input="hello", response_format="wav")
    assert sound.content[:4] == b"RIFF" and len(sound.content) == 44 + 80
    file = ("talk.wav", io.BytesIO(sound.content), "audio/wav")
    heard = await sdk.audio.transcriptions.create(model="whisper-1", file=file)
    assert heard.text == "echo: talk.wav [audio/wav 124 bytes]"
    lines = await sdk.audio.transcriptions.create(model="whisper-1", file=file, response_format="srt")
    assert lines.startswith("1\n00:00:00,000 --> ")
    translated = await sdk.audio.translations.create(model="whisper-1", file=file, response_format="verbose_json")
    assert translated.text == heard.text
    pieces = ""
    async for event in await sdk.audio.transcriptions.create(model="gpt-4o-transcribe", file=file, stream=True):
        pieces += getattr(event, "delta", "") or ""
    assert pieces == heard.text


async def test_rerank_puts_the_document_with_the_query_s_words_first(http: httpx2.AsyncClient) -> None:
    body = {"model": "r", "query": "red cow", "documents": ["a horse", "the red cow", "a cow"], "top_n": 2}
    answer = await http.post("/v1/rerank", json={**body, "return_documents": True})
    assert [row["index"] for row in answer.json()["results"]] == [1, 2]
    assert answer.json()["results"][0]["document"] == {"text": "the red cow"}


async def test_models_are_listed_and_read(sdk: Any) -> None:
    assert [model.id async for model in sdk.models.list()] == ["mock-small", "mock-large"]
    assert (await sdk.models.retrieve("mock-small")).id == "mock-small"
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("none")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_a_failure_raises_the_sdk_s_class(
    code: int, kind: type[openai.APIStatusError], sdk: Any, upstream: MockUpstream
) -> None:
    upstream.script(status(code, "scripted"))
    with pytest.raises(kind, match="scripted"):
        await sdk.chat.completions.create(model="m", messages=user("x"))


async def test_a_blocked_prompt_is_a_400(sdk: Any, upstream: MockUpstream) -> None:
    upstream.script(blocked())
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.chat.completions.create(model="m", messages=user("x"))
    assert caught.value.code == "content_policy_violation"


async def test_a_form_that_is_none_and_json_that_is_none_are_refused(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/v1/audio/transcriptions", json={})).status_code == 400
    assert (await http.post("/v1/chat/completions", content=b'{"model"')).status_code == 400
    assert (await http.get("/v1/chat/completions")).status_code == 405
    assert (await http.post("/v1/nothing", json={})).status_code == 404
    assert (await http.post("/elsewhere", json={})).status_code == 404
