from base64 import b64decode
from struct import unpack
from typing import Any

import openai
import orjson
import pytest

from instance.mock_upstream.replies import Reply
from instance.mock_upstream.server import MockUpstream
from tests.dialects.cohere.test_answer import TEXT, TOOLS, WHOLE_TEXT, WHOLE_TOOLS, sse
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running
from tests.modules.sdk_answers import TOOLS as OFFERED
from tests.modules.sdk_answers import spoken

__all__ = ["pytest_asyncio_loop_factories"]

HI: list[Any] = [{"role": "user", "content": "hi"}]
COHERE = "/cohere/"
MODEL = "cohere/command-a-03-2025"


def provider(mock: MockUpstream) -> str:
    return (
        f'[providers.cohere]\ntype = "cohere"\nbase_url = "{mock.root}/cohere"\napi_key = "cohere-key-1"\n'
        'models = ["command-a-03-2025", "embed-v4.0", "rerank-v3.5"]\n'
    )


def cohere(modules: dict[str, Any] | None = None) -> Any:
    return running(modules, providers=provider)


def whole(obj: dict[str, Any], status: int = 200) -> Reply:
    return Reply(body=orjson.dumps(obj), status=status)


def scripted(s: Running, streamed: bool, events: list[dict[str, Any]], obj: dict[str, Any]) -> None:
    made = Reply(body=sse(*events), content_type="text/event-stream") if streamed else whole(obj)
    s.mock.script(made, path=COHERE)


@pytest.mark.parametrize("streamed", [False, True])
async def test_parameters_arrive_under_cohere_names(streamed: bool) -> None:
    async with cohere() as s:
        scripted(s, streamed, TEXT, WHOLE_TEXT)
        said = await spoken(s, streamed, model=MODEL, messages=HI, top_p=0.5, stop="END", extra_body={"top_k": 7})
        assert (said["content"], said["finish_reason"]) == ("It räins.", "stop")
        assert said["usage"]["prompt_tokens"] == 71
        call = s.mock.calls[-1]
        body = call.json()
        assert call.path == "/cohere/v2/chat"
        assert call.headers["authorization"] == "Bearer cohere-key-1"
        assert (body["p"], body["k"], body["stop_sequences"]) == (0.5, 7, ["END"])
        assert "top_p" not in body


@pytest.mark.parametrize("streamed", [False, True])
async def test_citations_show_as_annotations_with_the_right_offsets(streamed: bool) -> None:
    documents = [{"id": "doc:0", "data": {"text": "It rains.", "title": "Weather"}}]
    async with cohere() as s:
        scripted(s, streamed, TEXT, WHOLE_TEXT)
        said = await spoken(s, streamed, model=MODEL, messages=HI, extra_body={"documents": documents})
        assert s.mock.calls[-1].json()["documents"] == documents
        (annotation,) = said["annotations"]
        cited = annotation["url_citation"]
        assert said["content"][cited["start_index"] : cited["end_index"]] == "räins"
        assert said["cohere"]["citations"][0]["sources"][0]["id"] == "doc:0"


@pytest.mark.parametrize("streamed", [False, True])
async def test_tool_calls_with_the_plan_as_reasoning(streamed: bool) -> None:
    async with cohere() as s:
        scripted(s, streamed, TOOLS, WHOLE_TOOLS)
        said = await spoken(s, streamed, model=MODEL, messages=HI, tools=OFFERED, tool_choice="required")
        assert s.mock.calls[-1].json()["tool_choice"] == "REQUIRED"
        assert said["finish_reason"] == "tool_calls"
        assert said["reasoning_content"] == "I will look."
        assert [(call["id"], call["function"]["name"]) for call in said["tool_calls"]] == [
            ("w_1", "weather"),
            ("n_2", "now"),
        ]
        assert [orjson.loads(call["function"]["arguments"]) for call in said["tool_calls"]] == [{"city": "Oslo"}, {}]


async def test_the_id_and_what_was_billed_are_told() -> None:
    async with cohere() as s:
        scripted(s, False, TEXT, WHOLE_TEXT)
        raw = await s.sdk().chat.completions.with_raw_response.create(model=MODEL, messages=HI)
        assert raw.headers["x-stockyard-upstream-id"] == "c-1"
        assert raw.parse().model_dump()["cohere"]["billed_units"] == {"input_tokens": 5, "output_tokens": 6}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, openai.BadRequestError, "bad_request"),
        (401, openai.InternalServerError, "provider_auth_failed"),
        (498, openai.InternalServerError, "provider_auth_failed"),
        (429, openai.RateLimitError, "rate_limited"),
        (500, openai.InternalServerError, "provider_error"),
    ],
)
async def test_errors_have_the_right_class(
    streamed: bool, status: int, error: type[openai.APIStatusError], code: str
) -> None:
    words = "You are using a Trial key, which is limited to 20 calls a minute"
    async with cohere({"retry": False}) as s:
        s.mock.script(whole({"message": words}, status), path=COHERE)
        with pytest.raises(error, match="Trial key") as caught:
            await s.sdk().chat.completions.create(model=MODEL, messages=HI, stream=streamed)
        assert caught.value.code == code


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_ended_in_an_error_is_one(streamed: bool) -> None:
    events = [TEXT[0], {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "lost"}}]
    async with cohere({"retry": False}) as s:
        scripted(s, streamed, events, {**WHOLE_TEXT, "finish_reason": "ERROR"})
        with pytest.raises(openai.InternalServerError) as caught:
            await s.sdk().chat.completions.create(model=MODEL, messages=HI, stream=streamed)
        assert caught.value.code == "provider_error"


async def test_a_stream_that_fails_in_its_middle_ends_in_an_error() -> None:
    events = [*TEXT[:4], {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "lost"}}]
    async with cohere() as s:
        scripted(s, True, events, {})
        with pytest.raises(openai.APIError):
            await spoken(s, True, model=MODEL, messages=HI)


async def test_embeddings_say_what_they_are_for() -> None:
    answer = {"id": "e-1", "embeddings": {"float": [[0.5, -1.0]]}, "meta": {"billed_units": {"input_tokens": 3}}}
    async with cohere({"cohereshim": {"input_type": "classification"}}) as s:
        s.mock.script(whole(answer), whole(answer), path=COHERE)
        body = {"model": "cohere/embed-v4.0", "input": "a", "encoding_format": "base64", "dimensions": 2}
        got = (await s.http().post("/v1/embeddings", json=body)).json()
        assert unpack("<2f", b64decode(got["data"][0]["embedding"])) == (0.5, -1.0)
        assert got["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        await s.sdk().embeddings.create(
            model="cohere/embed-v4.0", input="a", extra_body={"input_type": "search_query"}, encoding_format="float"
        )
        assert [call.path for call in s.mock.calls] == ["/cohere/v2/embed"] * 2
        assert [call.json()["input_type"] for call in s.mock.calls] == ["classification", "search_query"]
        assert s.mock.calls[0].json()["output_dimension"] == 2


async def test_more_texts_than_a_request_holds_are_several_requests() -> None:
    async with cohere() as s:
        for size in (96, 4):
            s.mock.script(whole({"embeddings": {"float": [[float(size)]] * size}}), path=COHERE)
        got = await s.sdk().embeddings.create(
            model="cohere/embed-v4.0", input=[str(n) for n in range(100)], encoding_format="float"
        )
        assert [len(call.json()["texts"]) for call in s.mock.calls] == [96, 4]
        assert [one.index for one in got.data] == list(range(100))
        assert (got.data[95].embedding, got.data[96].embedding) == ([96.0], [4.0])


async def test_rerank() -> None:
    answer = {
        "id": "r-1",
        "results": [{"index": 1, "relevance_score": 0.9}],
        "meta": {"billed_units": {"search_units": 1}},
    }
    async with cohere() as s:
        s.mock.script(whole(answer), path=COHERE)
        body = {
            "model": "cohere/rerank-v3.5",
            "query": "q",
            "documents": ["a", {"text": "b"}],
            "top_n": 1,
            "return_documents": True,
        }
        got = (await s.http().post("/v1/rerank", json=body)).json()
        assert got["results"] == [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}]
        call = s.mock.calls[-1]
        assert call.path == "/cohere/v2/rerank"
        assert call.json() == {"model": "rerank-v3.5", "query": "q", "documents": ["a", "b"], "top_n": 1}
