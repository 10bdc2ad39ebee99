"""schemavalidator over HTTP: contracts on requests, answers and tool calls."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from instance.chute.modules.validate.json_schema import CompiledSchema
from tests.mock_replies import Reply, text, tool
from tests.modules.conftest import Running, running

COST_CENTRE = {
    "name": "cost centre",
    "on": "request",
    "pointer": "/metadata",
    "schema": {
        "type": "object",
        "required": ["cost_centre"],
        "properties": {"cost_centre": {"type": "string", "pattern": r"^[A-Z]{3}-\d+$"}},
    },
}
CITY = {
    "type": "object",
    "required": ["city"],
    "properties": {"city": {"type": "string"}},
    "additionalProperties": False,
}
ANSWER = {"name": "city", "on": "response", "schema": CITY}
CALL = {"name": "weather", "on": "tool_args", "tool": "weather", "schema": CITY}


def _bound(*bindings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schemavalidator": {"bindings": list(bindings), **more}}


async def _ask(s: Running, stream: bool = False, **more: Any) -> str:
    made = await s.sdk().chat.completions.create(**s.body(**more), stream=stream)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


async def test_a_request_without_what_the_contract_asks_for_reaches_nobody() -> None:
    async with running(_bound(COST_CENTRE)) as s:
        for body in ({}, {"metadata": {"cost_centre": "nope"}}):
            with pytest.raises(openai.BadRequestError) as caught:
                await _ask(s, **body)
            assert caught.value.code == "request_schema"
            assert (caught.value.param or "").startswith("/metadata")
            assert caught.value.body["details"][0]["pointer"] == caught.value.param  # type: ignore[index]
        assert not s.mock.calls
        await _ask(s, metadata={"cost_centre": "ABC-12"})
        assert len(s.mock.calls) == 1


@pytest.mark.parametrize("good", [True, False])
async def test_an_answer_is_held_to_its_schema_whole_and_streamed(good: bool) -> None:
    said = '{"city": "Paris"}' if good else '{"town": "Paris"}'
    async with running(_bound(ANSWER)) as s:
        for stream in (False, True):
            s.mock.script(text(said))
            if good:
                assert await _ask(s, stream) == said
                continue
            with pytest.raises(openai.APIError) as caught:
                await _ask(s, stream)
            assert caught.value.code == "response_schema"
        if not good:
            (trace, _) = await s.recent_traces(2)
            ((action, detail), *_) = await s.trail(trace["id"], "schemavalidator")
            assert (action, detail["binding"]) == ("schema", "city")


async def test_a_held_stream_shows_nothing_of_a_bad_answer_and_all_of_a_good_one() -> None:
    async with running(_bound(ANSWER, buffer=True)) as s:
        s.mock.script(text('{"town": "Paris"}'), text('{"city": "Paris"}'))
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            await _ask(s, True)
        assert caught.value.code == "response_schema"
        assert await _ask(s, True) == '{"city": "Paris"}'


LOGPROBS = {"content": [{"token": "x", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}


def _with_logprobs(content: str) -> Reply:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "small"}
    choice = {"index": 0, "delta": {"content": content}, "logprobs": LOGPROBS, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events = [f"data: {json.dumps({**chunk, 'choices': [each]})}\n\n" for each in (choice, last)]
    body = "".join((*events, "data: [DONE]\n\n")).encode()
    return Reply(body=body, content_type="text/event-stream")


@pytest.mark.parametrize("buffer", [False, True])
async def test_a_stream_with_more_than_text_in_it_is_checked_too(buffer: bool) -> None:
    async with running(_bound(ANSWER, buffer=buffer)) as s:
        s.mock.script(_with_logprobs('{"town": "Oslo"}'), _with_logprobs('{"city": "Oslo"}'))
        with pytest.raises(openai.APIError) as caught:
            await _ask(s, True, logprobs=True)
        assert caught.value.code == "response_schema"
        made = await s.sdk().chat.completions.create(**s.body(logprobs=True), stream=True)
        choices = [chunk.choices[0] async for chunk in made]
        assert choices[0].delta.content == '{"city": "Oslo"}'
        assert choices[0].logprobs is not None


async def test_a_held_stream_that_is_refused_is_paid() -> None:
    prices = '[prices."up/small"]\nin_usd_per_mtok = 1000\nout_usd_per_mtok = 1000\n'
    async with running(_bound(ANSWER, buffer=True), config=prices) as s:
        s.mock.script(text('{"town": "Oslo"}', usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}))
        with pytest.raises(openai.UnprocessableEntityError):
            await _ask(s, True)
        (trace,) = await s.recent_traces(1)
        assert trace["cost_usd"] == pytest.approx(0.007)


@pytest.mark.parametrize("stream", [False, True])
async def test_arguments_of_a_named_tool_are_checked(stream: bool) -> None:
    async with running(_bound(CALL)) as s:
        s.mock.script(tool("weather", {"city": 7}), tool("other", {"city": 7}), tool("weather", {"city": "Rome"}))
        with pytest.raises(openai.APIError) as caught:
            await _ask(s, stream)
        assert (caught.value.code, caught.value.param) == ("response_schema", "/city")
        await _ask(s, stream)
        await _ask(s, stream)


async def test_flagged_is_only_noted_and_bindings_hold_where_they_say() -> None:
    flagged = {**ANSWER, "action": "flag"}
    elsewhere = {**ANSWER, "match": "*large"}
    tagged = {**ANSWER, "name": "tagged", "tag": "strict=yes"}
    async with running(_bound(flagged, elsewhere, tagged)) as s:
        answer = await s.chat()
        assert answer.status_code == 200
        assert len(await s.trail(answer.headers["x-stockyard-trace-id"], "schemavalidator")) == 1
        assert (await s.chat(model="up/large")).status_code == 422
        assert (await s.chat(headers={"x-stockyard-tags": "strict=yes"})).status_code == 422


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "https://example.com/schema.json"},
        {"pattern": "(?<=look)behind"},
        {"$ref": "#/nowhere"},
    ],
)
async def test_a_schema_that_cannot_be_used_is_refused_when_it_is_saved(schema: dict[str, Any]) -> None:
    async with running(_bound(ANSWER)) as s:
        bad = {"config": {"bindings": [{**ANSWER, "schema": schema}]}}
        answer = await s.http(s.admin_key).put("/api/proxy/modules/schemavalidator", json=bad)
        assert answer.status_code == 422
        assert "bindings" in answer.json()["error"]["param"]
        s.mock.script(text('{"town": 1}'))
        assert (await s.chat()).status_code == 422  # the contract from before holds on


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "object", "properties": {"n": {"maximum": 2}}}, [{}, {"n": 2, "m": 9}], [{"n": 3}, 1]),
        ({"properties": {"n": {"maximum": 2}}}, [{}, 7, {"m": 1}], [{"n": 3}]),
        ({"required": ["m"]}, [{"m": None}], [{}, {"n": 1}]),
        ({"type": "object", "required": ["m"], "properties": {"n": {"$ref": "#"}}}, [{"m": 1}], [{"m": 1, "n": {}}]),
        ({"type": "object", "minProperties": 2}, [{"a": 1, "b": 2}], [{"a": 1}]),
        ({"properties": {"a": {}}, "additionalProperties": False}, [{"a": 1}], [{"a": 1, "b": 2}]),
        ({"properties": {"a": {}}, "patternProperties": {"^x": False}}, [{"a": 1}], [{"x": 2}]),
        ({"properties": {"a": {}}, "not": {"required": ["b"]}}, [{"a": 1}], [{"b": 2}]),
        ({"properties": {"a": {}}, "dependentRequired": {"b": ["c"]}}, [{"b": 1, "c": 1}], [{"b": 2}]),
        (False, [], [{}, 1]),
    ],
)
def test_a_schema_is_held_against_all_of_an_object_that_it_speaks_of(
    schema: Any, good: list[Any], bad: list[Any]
) -> None:
    made = CompiledSchema(schema)
    for value in good:
        assert made.fits(value)
        assert made.problems(value) == []
    for value in bad:
        assert not made.fits(value)
        assert made.problems(value)
