"""mockllm: fixtures answer in place of the provider; answers are recorded and replayed."""

from __future__ import annotations

from typing import Any

import openai
import orjson
import pytest

from instance.chute.modules.forge.fixture_answer import tokens_of
from instance.chute.modules.forge.schema_value import value_for
from instance.chute.modules.validate.json_schema import BadSchema, CompiledSchema
from tests.mock_replies import chunks, text, tool
from tests.modules.conftest import Running, running

TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
WEATHER = {
    "name": "weather",
    "contains": "weather",
    "tools": True,
    "tool_calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}],
}


async def said(s: Running, content: str, **more: Any) -> str:
    answer = await s.sdk().chat.completions.create(**s.body(content), **more)
    return answer.choices[0].message.content or ""


async def streamed(s: Running, content: str, **more: Any) -> list[Any]:
    return [chunk async for chunk in await s.sdk().chat.completions.create(**s.body(content), stream=True, **more)]


def text_of(found: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in found if chunk.choices)


async def test_a_fixture_calls_a_tool_plain_and_streamed_without_the_provider() -> None:
    async with running({"mockllm": {"fixtures": [WEATHER]}}) as s:
        raw = await s.sdk().chat.completions.with_raw_response.create(**s.body("What WEATHER is it?"), tools=TOOLS)
        assert raw.headers["x-stockyard-mock"] == "weather"
        choice: Any = raw.parse().choices[0]
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        assert (call.function.name, orjson.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})

        found = await streamed(s, "the weather", tools=TOOLS)
        parts = [part for chunk in found if chunk.choices for part in chunk.choices[0].delta.tool_calls or ()]
        assert parts[0].function.name == "get_weather" and parts[0].id
        assert orjson.loads("".join(part.function.arguments for part in parts)) == {"city": "Paris"}
        assert [c.choices[0].finish_reason for c in found if c.choices][-1] == "tool_calls"
        assert not s.mock.calls
        (trace,) = await s.recent_traces(1)
        assert (trace["tags"], trace["cost_usd"], trace["status"]) == ({"mock": "true"}, 0, "ok")
        assert trace["tokens_out"] > 0
        assert await s.trail(trace["id"], "mockllm") == [("fixture", {"name": "weather"})]


async def test_the_first_fixture_that_fits_in_all_answers_and_others_go_on() -> None:
    fixtures = [
        {"name": "exact", "exact": "ping", "text": "pong"},
        {"name": "large", "model": "*large", "text": "from large"},
        {"name": "tagged", "tag": "feature=search", "text": "tagged"},
        {"name": "second", "contains": "again", "nth": 2, "text": "the second time"},
        {
            "name": "order",
            "matches": r"order (?P<id>\d+) of (\w+)",
            "text": "{{id}} of {{2}}: {{0}} / {{echo}} / {{n}} {{model}}",
        },
    ]
    async with running({"mockllm": {"fixtures": fixtures}}) as s:
        assert await said(s, "ping") == "pong"
        assert await said(s, "ping!") == "echo: ping!"
        assert await said(s, "x", extra_headers={"X-Stockyard-Tags": "feature=search"}) == "tagged"
        large = await s.sdk().chat.completions.create(model="up/large", messages=[{"role": "user", "content": "x"}])
        assert large.choices[0].message.content == "from large"
        assert [await said(s, "again") for _ in range(3)] == ["echo: again", "the second time", "echo: again"]
        expected = "17 of ann: order 17 of ann / see order 17 of ann / 1 up/small"
        assert await said(s, "see order 17 of ann") == expected


async def test_the_last_text_of_the_user_is_what_fixtures_look_at() -> None:
    async with running({"mockllm": {"fixtures": [{"name": "a", "contains": "first", "text": "no"}]}}) as s:
        messages: Any = [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "first"},
            {"role": "user", "content": [{"type": "text", "text": "second"}]},
        ]
        answer = await s.sdk().chat.completions.create(model=s.model, messages=messages)
        assert answer.choices[0].message.content == "echo: second"


async def test_what_is_random_is_the_same_for_the_same_seed() -> None:
    fixture = {"name": "dice", "text": "{{int 1 1000000}} {{random red|green|blue}}"}
    found = []
    for seed in (1, 1, 2):
        async with running({"mockllm": {"fixtures": [fixture], "seed": seed}}) as s:
            found.append([await said(s, "x"), await said(s, "x")])
    assert found[0] == found[1] != found[2]
    assert found[0][0] != found[0][1]


async def test_a_refusal_and_usage_and_finish_as_the_fixture_says() -> None:
    fixtures = [
        {"name": "no", "exact": "no", "refusal": "I will not."},
        {
            "name": "long",
            "text": "cut",
            "finish_reason": "length",
            "usage": {"prompt_tokens": 7, "completion_tokens": 9},
        },
    ]
    async with running({"mockllm": {"fixtures": fixtures}}) as s:
        answer = await s.sdk().chat.completions.create(**s.body("no"))
        assert (answer.choices[0].message.refusal, answer.choices[0].message.content) == ("I will not.", None)
        answer = await s.sdk().chat.completions.create(**s.body("x"))
        assert answer.choices[0].finish_reason == "length"
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 9, 16)


async def test_an_error_reaches_the_sdk_as_a_providers_would() -> None:
    fixture = {"name": "busy", "status": 429, "retry_after_s": 7, "body": {"error": {"message": "slow down"}}}
    async with running({"mockllm": {"fixtures": [fixture]}}) as s:
        with pytest.raises(openai.RateLimitError) as refused:
            await said(s, "x")
        assert refused.value.response.headers["retry-after"] == "7"
        assert not s.mock.calls


@pytest.mark.parametrize("fault", [{"break_after": 3}, {"malformed_after": 3}])
async def test_a_stream_with_a_fault_fails_in_the_sdk_after_its_first_tokens(fault: dict[str, int]) -> None:
    async with running({"mockllm": {"fixtures": [{"name": "f", "text": "one two three four five", **fault}]}}) as s:
        got: list[Any] = []
        with pytest.raises((openai.APIError, ValueError)):
            async for chunk in await s.sdk().chat.completions.create(**s.body(), stream=True):
                got.append(chunk)
        assert text_of(got) == "one two three"


async def test_ten_tokens_a_second_for_twenty_tokens_are_two_seconds() -> None:
    words = " ".join(f"w{number}" for number in range(20))
    assert len(tokens_of(words)) == 20
    async with running({"mockllm": {"fixtures": [{"name": "slow", "text": words, "tokens_per_s": 10}]}}) as s:
        slept: list[float] = []
        clock = s.instance.core.clock
        real = clock.sleep
        now = [clock.mono_ns()]

        class Counted(type(clock)):  # type: ignore[misc]
            """Time passes by what is slept alone."""

            def mono_ns(self) -> int:
                return now[0]

            async def sleep(self, seconds: float) -> None:
                slept.append(seconds)
                now[0] += round(seconds * 1e9)
                await real(0)

        module = s.module("mockllm")
        module._core = type("Core", (), {"clock": Counted(), "services": {}, "writer": s.instance.core.writer})()
        assert text_of(await streamed(s, "x")) == words
        assert len(slept) == 20 and sum(slept) == pytest.approx(2.0, rel=0.001)
        slept.clear()
        assert await said(s, "x") == words
        assert sum(slept) == pytest.approx(2.0, rel=0.001)


async def test_a_stream_comes_token_by_token() -> None:
    async with running({"mockllm": {"fixtures": [{"name": "a", "text": "some quite ordinary words."}]}}) as s:
        pieces = [
            c.choices[0].delta.content for c in await streamed(s, "x") if c.choices and c.choices[0].delta.content
        ]
        assert pieces == ["some", " quite", " ordina", "ry", " words", "."]


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 12},
        "age": {"type": "integer", "minimum": 18, "exclusiveMaximum": 30},
        "price": {"type": "number", "multipleOf": 0.5, "minimum": 1},
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
        "at": {"type": "string", "format": "date-time"},
        "child": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "both": {
            "allOf": [
                {"type": "object", "required": ["x"], "properties": {"x": {"type": "boolean"}}},
                {"required": ["y"]},
            ]
        },
    },
    "required": ["name", "age", "price", "kind", "tags", "at", "child", "both"],
    "additionalProperties": False,
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["next"],
        }
    },
}


def test_values_made_from_a_schema_fit_it_whatever_the_seed() -> None:
    compiled = CompiledSchema(SCHEMA)
    made = [value_for(SCHEMA, str(seed)) for seed in range(100)]
    assert all(compiled.fits(value) for value in made)
    assert value_for(SCHEMA, "1") == value_for(SCHEMA, "1")
    assert len({orjson.dumps(value) for value in made}) > 50
    with pytest.raises(BadSchema):
        value_for({"type": "string", "pattern": "^[0-9]{40}$"}, "1")


async def test_an_answer_is_made_from_the_requests_schema() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    async with running({"mockllm": {"fixtures": [{"name": "json", "from_schema": True}]}}) as s:
        assert CompiledSchema(SCHEMA).fits(orjson.loads(await said(s, "x", response_format=form)))
        found = await streamed(s, "x", response_format=form)
        assert CompiledSchema(SCHEMA).fits(orjson.loads(text_of(found)))


async def test_vectors_are_the_same_for_the_same_text_and_of_length_one() -> None:
    async with running({"mockllm": {"fixtures": [{"name": "vectors", "model": "up/large"}]}}) as s:
        made = await s.sdk().embeddings.create(model="up/large", input=["a text", "a text", "another"])
        one, same, other = (row.embedding for row in made.data)
        assert one == same != other
        assert sum(value * value for value in one) == pytest.approx(1, abs=1e-4)
        assert not s.mock.calls


async def test_what_no_fixture_fits_gets_the_default_or_404() -> None:
    async with running({"mockllm": {"on_miss": "default", "default_text": "nothing {{here}}"}}) as s:
        assert await said(s, "x") == "nothing {{here}}"
        await s.configure({"mockllm": {"on_miss": "error"}})
        with pytest.raises(openai.NotFoundError) as refused:
            await said(s, "x")
        assert refused.value.code == "fixture_missing"
        hash_ = refused.value.response.headers["x-stockyard-mock-hash"]
        await s.configure({"mockllm": {"fixtures": [{"name": "h", "hash": hash_, "text": "by its hash"}]}})
        assert await said(s, "x") == "by its hash"
        assert text_of(await streamed(s, "x")) == "by its hash"
        assert await said(s, "y") == "echo: y"


async def test_with_header_only_no_other_call_is_looked_at() -> None:
    fixtures = [{"name": "one", "set": "demo", "text": "demo"}, {"name": "two", "set": "other", "text": "other"}]
    async with running({"mockllm": {"fixtures": fixtures, "header_only": True}}) as s:
        assert await said(s, "x") == "echo: x"
        assert await said(s, "x", extra_headers={"X-Stockyard-Mock": "other"}) == "other"
        assert await said(s, "x", extra_headers={"X-Stockyard-Mock": "none"}) == "echo: x"


async def test_three_recorded_calls_are_replayed_byte_for_byte_without_the_provider() -> None:
    async with running({"mockllm": {"mode": "record"}}) as s:
        s.mock.script(text("the first"), tool("get_weather", {"city": "Oslo"}), chunks(["a ", "streamed ", "one"]))
        recorded = [(await s.chat("1")).content, (await s.chat("2", tools=TOOLS)).content]
        stream = s.body("3", stream=True)
        recorded.append((await s.http().post("/v1/chat/completions", json=stream)).content)
        await s.configure({"mockllm": {"mode": "replay"}})
        before = len(s.mock.calls)
        played = [await s.chat("1"), await s.chat("2", tools=TOOLS)]
        played.append(await s.http().post("/v1/chat/completions", json=stream))
        assert [answer.content for answer in played] == recorded
        assert all(answer.headers["x-stockyard-mock"].startswith("recording-") for answer in played)
        missing = await s.chat("4")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "fixture_missing")
        # a call that was recorded whole is streamed too, and the other way round
        assert text_of(await streamed(s, "1")) == "the first"
        assert await said(s, "3") == "a streamed one"
        assert len(s.mock.calls) == before


async def test_a_stream_that_a_module_changed_is_replayed_as_it_was_changed() -> None:
    form = {"type": "json_object"}
    async with running({"mockllm": {"mode": "record"}, "jsonrepair": {"stream": "buffer"}}) as s:
        s.mock.script(chunks(["{'a'", ": 1,}"]))
        assert text_of(await streamed(s, "1", response_format=form)) == '{"a":1}'
        await s.configure({"mockllm": {"mode": "replay"}})
        assert text_of(await streamed(s, "1", response_format=form)) == '{"a":1}'


async def test_failed_calls_are_not_recorded_and_secrets_not_stored() -> None:
    secret = (
        "sk-ant-api03-" + "Qm9yZ2VzLWxpYnJhcnktb2YtYmFiZWwtc2VjcmV0LTEyMzQ1Njc4OTAtYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4AA"
    )
    async with running({"mockllm": {"mode": "record"}, "secretscan": {}, "retry": False}) as s:
        s.mock.script(text(f"It is {secret} here."))
        assert secret in (await s.chat("1")).text
        await s.configure({"mockllm": {"mode": "replay"}})
        answer = (await s.chat("1")).json()["choices"][0]["message"]["content"]
        assert secret[20:40] not in answer and answer.startswith("It is [SECRET:")


@pytest.mark.parametrize("form", ["json", "yaml"])
async def test_fixtures_and_recordings_go_out_and_in_as_one_file(form: str) -> None:
    path = "/api/proxy/mockllm/fixtures"
    async with running({"mockllm": {"mode": "record", "fixtures": [WEATHER]}}) as s:
        s.mock.script(text("recorded"))
        recorded = (await s.chat("1")).content
        file = (await s.http(s.admin_key).get(path, params={"format": form})).content
    async with running({"mockllm": {"mode": "replay"}}) as s:
        client = s.http(s.admin_key)
        kind = {"content-type": f"application/{form}"}
        taken = await client.put(path, content=file, headers=kind)
        assert taken.json() == {"status": "updated", "fixtures": 1, "recordings": 1}
        assert (await s.chat("1")).content == recorded
        assert (await client.delete(f"{path}/recordings")).json()["removed"] == 1
        assert (await s.chat("1")).status_code == 404
        for bad in (b"[]", b"{", b"version: 1\nfixtures: {}", b"version: 1\nrecordings: [1]"):
            assert (await client.put(path, content=bad, headers=kind)).status_code == 422


@pytest.mark.parametrize(
    "fixture",
    [
        {"name": "x", "matches": "(a"},
        {"name": "x", "text": "{{what}}"},
        {"name": "x", "text": "{{int 6 1}}"},
        {"name": "x", "status": 99},
        {"name": "with blank x"},
    ],
)
async def test_fixtures_that_cannot_be_are_refused(fixture: dict[str, Any]) -> None:
    async with running({"mockllm": {}}) as s:
        answer = await s.http(s.admin_key).put("/api/proxy/modules/mockllm", json={"config": {"fixtures": [fixture]}})
        assert (answer.status_code, answer.json()["error"]["param"].startswith("config.fixtures.0")) == (422, True)
        assert await said(s, "x") == "echo: x"


async def test_two_fixtures_of_one_name_are_refused_and_without_any_nothing_is_done() -> None:
    async with running({"mockllm": {}}) as s:
        assert s.module("mockllm").hooks() == ()
        answer = await s.http(s.admin_key).put(
            "/api/proxy/modules/mockllm", json={"config": {"fixtures": [{"name": "a"}, {"name": "a"}]}}
        )
        assert answer.status_code == 422
