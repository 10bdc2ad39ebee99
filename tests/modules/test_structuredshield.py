"""structuredshield over HTTP: one JSON value that fits, whatever the model knows and says."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from instance.chute.modules.validate.schema_fit import example, fitted
from tests.mock_replies import Reply, chunks, status, text, tool
from tests.modules.conftest import Running, running

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}}
GOOD, BAD = '{"name":"x","age":5}', "sure! {name: 'x', age: 'five'}"
PRICES = '[prices."up/small"]\nin_usd_per_mtok = 1000\nout_usd_per_mtok = 1000\n'


class Person(BaseModel):
    name: str
    age: int


async def _ask(s: Running, stream: bool = False, **more: Any) -> str:
    made = await s.sdk().chat.completions.create(**s.body(**{**FORM, **more}), stream=stream)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


async def test_the_sdks_parser_gets_an_object_after_a_bad_first_answer() -> None:
    async with running({"structuredshield": {}}, config=PRICES) as s:
        s.mock.script(text(BAD), text(GOOD))
        made = await s.sdk().chat.completions.parse(
            model=s.model, messages=[{"role": "user", "content": "who?"}], response_format=Person
        )
        assert made.choices[0].message.parsed == Person(name="x", age=5)
        assert len(s.mock.calls) == 2
        assert "/age" in s.mock.calls[1].json()["messages"][-1]["content"]
        (trace,) = await s.recent_traces(1)
        assert [detail["errors"] for _, detail in await s.trail(trace["id"], "structuredshield")] == [["/age"], []]
        costs = {line["what"]: line["usd"] for line in trace["costs"]}
        assert any(what.startswith("structuredshield:1:") for what in costs)
        assert trace["cost_usd"] == pytest.approx(sum(costs.values()))
        assert len(trace["attempts"]) == 2


async def test_chatter_and_fences_are_taken_off_and_plain_mistakes_of_type_mended() -> None:
    async with running({"structuredshield": {"strip_extra": True}}) as s:
        s.mock.script(text('Here:\n```json\n{"name": "x", "age": "5", "extra": 1}\n```'))
        assert json.loads(await _ask(s)) == {"name": "x", "age": 5}
        assert len(s.mock.calls) == 1


async def test_an_answer_that_fits_arrives_byte_for_byte() -> None:
    odd = '{ "name":"x",  "age" : 5 }'
    async with running({"structuredshield": {}}) as s:
        s.mock.script(text(odd))
        assert await _ask(s) == odd


@pytest.mark.parametrize("stream", [False, True])
async def test_what_never_fits_is_refused_with_the_last_answer_or_passed(stream: bool) -> None:
    async with running({"structuredshield": {"max_retries": 1}}) as s:
        s.mock.script(text('{"name": 1}'), text('{"name": "x"}'))
        with pytest.raises(openai.APIError) as caught:
            await _ask(s, stream)
        assert caught.value.code == "structured_output_failed"
        if not stream:
            assert len(s.mock.calls) == 2
            assert caught.value.body["details"]["answer"] == '{"name": "x"}'  # type: ignore[index]
        await s.configure({"structuredshield": {"max_retries": 1, "on_fail": "pass"}})
        s.mock.script(text('{"name": "x"}'), text('{"name": 1}'))
        assert await _ask(s) == '{"name": "x"}'  # the attempt with the fewest problems


async def test_a_stream_with_native_support_flows_and_is_checked_at_its_end() -> None:
    async with running({"structuredshield": {}}) as s:
        s.mock.script(text(GOOD))
        assert await _ask(s, True) == GOOD
        assert s.mock.calls[0].json()["stream"] is True


async def test_a_target_that_refuses_schemas_is_instructed_from_then_on() -> None:
    refusal = status(400, "response_format is not supported", param="response_format")
    async with running({"structuredshield": {}}) as s:
        s.mock.script(refusal, text(GOOD), text(GOOD), text(GOOD))
        assert await _ask(s) == GOOD
        assert await _ask(s) == GOOD
        assert await _ask(s, True) == GOOD
        assert len(s.mock.calls) == 4
        for call in list(s.mock.calls)[1:]:
            body = call.json()
            assert "response_format" not in body
            assert "JSON Schema" in body["messages"][0]["content"]
            assert not body.get("stream")


async def test_a_stream_to_a_target_that_refuses_schemas_is_asked_by_instruction() -> None:
    async with running({"structuredshield": {}}) as s:
        s.mock.script(status(400, "response_format is not supported", param="response_format"), text(GOOD))
        assert await _ask(s, True) == GOOD
        assert ["response_format" in call.json() for call in s.mock.calls] == [True, False]


def _answers(*messages: dict[str, Any]) -> Reply:
    choices = [{"index": n, "message": each, "finish_reason": "stop"} for n, each in enumerate(messages)]
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "small", "choices": choices}
    return Reply(body=json.dumps(answer).encode())


async def test_every_choice_is_made_to_fit() -> None:
    good = {"role": "assistant", "content": GOOD}
    async with running({"structuredshield": {}}) as s:
        s.mock.script(_answers(good, {**good, "content": "no"}), _answers(good, {**good, "content": f"Here: {GOOD}"}))
        made = await s.sdk().chat.completions.create(**s.body(**FORM, n=2))
        assert [choice.message.content for choice in made.choices] == [GOOD, GOOD]
        assert len(s.mock.calls) == 2


async def test_who_declines_is_not_asked_again() -> None:
    async with running({"structuredshield": {}}) as s:
        s.mock.script(_answers({"role": "assistant", "content": None, "refusal": "I will not."}))
        made = await s.sdk().chat.completions.create(**s.body(**FORM))
        assert (made.choices[0].message.content, made.choices[0].message.refusal) == (None, "I will not.")
        assert len(s.mock.calls) == 1


async def test_a_stream_is_checked_whoever_holds_it_back_further_out() -> None:
    async with running({"structuredshield": {}, "maskmode": {}}) as s:
        s.mock.script(chunks(['{"name": "Gr', 'ace Hopper", ', '"age": "many"}']))
        with pytest.raises(openai.APIError) as caught:
            await _ask(s, True)
        assert caught.value.code == "structured_output_failed"


async def test_a_model_that_knows_tools_only_is_made_to_call_one() -> None:
    providers = lambda mock: f'[providers.openai]\nbase_url = "{mock.url}"\napi_key = "k"\n'  # noqa: E731
    async with running({"structuredshield": {}}, providers=providers) as s:
        s.mock.script(tool("give_answer", json.loads(GOOD)))
        assert json.loads(await _ask(s, model="openai/gpt-3.5-turbo")) == json.loads(GOOD)
        body = s.mock.calls[0].json()
        assert body["tool_choice"]["function"]["name"] == body["tools"][0]["function"]["name"] == "give_answer"
        assert "response_format" not in body


async def test_a_schema_of_the_operators_comes_by_header_or_by_itself() -> None:
    own = {"schemas": {"person": PERSON}}
    async with running({"structuredshield": own}) as s:
        plain = {"response_format": openai.NOT_GIVEN}
        s.mock.script(text(BAD), text(GOOD))
        assert await _ask(s, extra_headers={"x-stockyard-schema": "person"}, **plain) == GOOD
        with pytest.raises(openai.BadRequestError) as caught:
            await _ask(s, extra_headers={"x-stockyard-schema": "nothing"}, **plain)
        assert caught.value.code == "invalid_schema"
        s.mock.script(text("just prose"))
        assert await _ask(s, **plain) == "just prose"
        await s.configure({"structuredshield": {**own, "bind": [{"match": "up/*", "schema": "person"}]}})
        s.mock.script(text(BAD), text(GOOD))
        assert await _ask(s, **plain) == GOOD


async def test_a_schema_that_is_none_is_the_callers_mistake() -> None:
    async with running({"structuredshield": {}}) as s:
        bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "thing"}}}
        with pytest.raises(openai.BadRequestError) as caught:
            await _ask(s, response_format=bad)
        assert (caught.value.code, caught.value.param) == ("invalid_schema", "response_format.json_schema.schema")
        assert not s.mock.calls


async def test_calls_of_the_callers_own_tools_pass() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    async with running({"structuredshield": {}}) as s:
        s.mock.script(tool("f", {"a": 1}))
        made = await s.sdk().chat.completions.create(**s.body(**FORM, tools=tools))
        assert made.choices[0].message.tool_calls[0].function.name == "f"
        assert len(s.mock.calls) == 1


def test_values_are_fitted_where_the_intention_is_plain_only() -> None:
    schema = {
        "properties": {"n": {"type": "number"}, "b": {"type": "boolean"}, "l": {"items": {"$ref": "#/$defs/i"}}},
        "$defs": {"i": {"type": "integer"}},
    }
    given = {"n": "2.5", "b": "TRUE", "l": ["1", "x"]}
    assert fitted(given, schema, coerce=True, strip_extra=False) == {"n": 2.5, "b": True, "l": [1, "x"]}
    same = {"n": 1, "l": [2]}
    assert fitted(same, schema, coerce=True, strip_extra=True) is same
    assert example(schema) == {"n": 0.5, "b": True, "l": [0]}
