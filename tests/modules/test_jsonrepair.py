"""jsonrepair over HTTP: what is mended, and what is left byte for byte."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.modules.validate.broken_json import mended, parses
from instance.chute.modules.validate.jsonrepair import JsonRepair
from tests.mock_replies import Reply, chunks, text, tool
from tests.modules.conftest import Running, running
from tests.modules.exchanges import exchange

OBJECT = {"response_format": {"type": "json_object"}}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}
BROKEN = "```json\n{'a': 1, b: [1,2,],}\n```"


async def _content(s: Running, stream: bool = False, **more: Any) -> str:
    made = await s.sdk().chat.completions.create(**s.body("as JSON please", **more), stream=stream)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


@pytest.mark.parametrize(("stream", "settings"), [(False, {}), (True, {"stream": "buffer"})])
async def test_broken_json_that_was_asked_for_arrives_mended(stream: bool, settings: dict[str, Any]) -> None:
    async with running({"jsonrepair": settings}) as s:
        s.mock.script(text(BROKEN))
        assert json.loads(await _content(s, stream, **OBJECT)) == {"a": 1, "b": [1, 2]}
        (trace,) = await s.recent_traces(1)
        assert await s.trail(trace["id"], "jsonrepair") == [
            ("repaired", {"what": "content", "fixes": ["fence", "syntax"]})
        ]


async def test_a_mended_answer_says_so() -> None:
    async with running() as s:
        s.mock.script(text(BROKEN), text('{"a":1}'))
        assert (await s.chat("json", **OBJECT)).headers["x-stockyard-json"] == "repaired"
        assert "x-stockyard-json" not in (await s.chat("json", **OBJECT)).headers


@pytest.mark.parametrize("stream", [False, True])
async def test_good_json_with_odd_spacing_is_not_touched(stream: bool) -> None:
    odd = '  {"a"  :1 ,\n\t"b": [ ] }\n'
    async with running({"jsonrepair": {"stream": "buffer"}}) as s:
        s.mock.script(chunks([odd[:7], odd[7:]]))
        assert await _content(s, stream, **OBJECT) == odd


async def test_prose_with_broken_json_in_it_is_left_alone_unless_the_model_is_bound() -> None:
    prose = "Here it is:\n{'a': 1,}\nHave fun."
    async with running() as s:
        s.mock.script(text(prose))
        assert await _content(s) == prose
        await s.configure({"jsonrepair": {"always_for": ["up/*"]}})
        s.mock.script(text(prose))
        assert json.loads(await _content(s)) == {"a": 1}


@pytest.mark.parametrize(("stream", "settings"), [(False, {}), (True, {"stream": "buffer"})])
async def test_arguments_of_tool_calls_are_mended(stream: bool, settings: dict[str, Any]) -> None:
    async with running({"jsonrepair": settings}) as s:
        s.mock.script(tool("f", "{city: 'Paris', days: 3"))
        made = await s.sdk().chat.completions.create(**s.body(**TOOLS), stream=stream)
        if stream:
            arguments = "".join(
                [
                    call.function.arguments or ""
                    async for chunk in made
                    for choice in chunk.choices
                    for call in choice.delta.tool_calls or ()
                ]
            )
        else:
            arguments = made.choices[0].message.tool_calls[0].function.arguments
        assert json.loads(arguments) == {"city": "Paris", "days": 3}


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_cut_for_its_length_is_mended_only_when_asked(stream: bool) -> None:
    cut = '{"a": [1, 2, {"b": "unfin'
    async with running({"jsonrepair": {"stream": "buffer"}}) as s:
        s.mock.script(text(cut, finish="length"))
        assert await _content(s, stream, **OBJECT) == cut
        await s.configure({"jsonrepair": {"repair_cut": True, "stream": "buffer"}})
        s.mock.script(text(cut, finish="length"))
        assert json.loads(await _content(s, stream, **OBJECT)) == {"a": [1, 2, {"b": "unfin"}]}


async def test_a_held_stream_that_never_says_its_end_is_mended_too() -> None:
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"content": "{'a': 1}"}, "finish_reason": None}]}
    body = b"data: " + orjson.dumps(chunk) + b"\n\ndata: [DONE]\n\n"
    async with running({"jsonrepair": {"stream": "buffer"}}) as s:
        s.mock.script(Reply(body=body, content_type="text/event-stream"))
        assert await _content(s, True, **OBJECT) == '{"a":1}'


async def test_what_a_stream_said_is_looked_at_whoever_holds_it_back_further_out() -> None:
    async with running({"maskmode": {}}) as s:
        s.mock.script(chunks(["{'na", "me': 'Grace ", "Hopper'}"]))
        await _content(s, True, **OBJECT)
        (trace,) = await s.recent_traces(1)
        ((action, detail),) = await s.trail(trace["id"], "jsonrepair")
        assert (action, detail["position"]) == ("unrepairable", 1)


async def test_the_old_form_of_a_tool_call_is_mended() -> None:
    message = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{city: 'Paris'}"}}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "small"}
    choices = [{"index": 0, "message": message, "finish_reason": "function_call"}]
    async with running() as s:
        s.mock.script(Reply(body=orjson.dumps({**answer, "choices": choices})))
        made = await s.chat(functions=[{"name": "f", "parameters": {"type": "object"}}])
        assert json.loads(made.json()["choices"][0]["message"]["function_call"]["arguments"]) == {"city": "Paris"}


async def test_what_cannot_be_told_is_left_and_a_stream_says_that_it_does_not_parse() -> None:
    async with running() as s:
        s.mock.script(text("I would rather not."), text("{'a': 1}"))
        assert await _content(s, **OBJECT) == "I would rather not."
        assert await _content(s, True, **OBJECT) == "{'a': 1}"
        streamed, plain = await s.recent_traces(2)
        ((action, detail),) = await s.trail(plain["id"], "jsonrepair")
        assert (action, detail["why"]) == ("unrepairable", "no object or list")
        ((action, detail),) = await s.trail(streamed["id"], "jsonrepair")
        assert (action, detail["position"]) == ("unrepairable", 1)


@pytest.mark.parametrize(
    ("broken", "value"),
    [
        ('{"a": True, "b": None}', {"a": True, "b": None}),
        ('{"a": 1 // one\n}', {"a": 1}),
        ("[1, 2, 3", [1, 2, 3]),
        ('Sure! {"a": "x"} Anything else?', {"a": "x"}),
        ('{"a": "x"} Is there anything else that I can do for you?', {"a": "x"}),
        ("{“a”: “b”}", {"a": "b"}),
    ],
)
def test_common_faults_are_mended(broken: str, value: Any) -> None:
    assert not parses(broken)
    assert orjson.loads(mended(broken, 90).text) == value


@pytest.mark.parametrize(
    "text_", ["{never any json in here, just words about it and more words}", "{}}}}", "", "[[[[" * 2000]
)
def test_nothing_is_made_up(text_: str) -> None:
    found = mended(text_, 90)
    assert found.text == "" or parses(found.text)
    assert not found.text or sum(map(str.isalnum, found.text)) >= 0.9 * sum(map(str.isalnum, text_))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    )
)
def test_json_is_never_called_broken(value: Any) -> None:
    assert parses(json.dumps(value, ensure_ascii=False))


@pytest.mark.parametrize(
    ("settings", "asked", "passes"),
    [
        ({}, {}, True),
        ({}, {"tools": []}, False),
        ({"tool_args": False}, {"tools": []}, True),
        ({}, {"response_format": {"type": "text"}}, True),
        ({"tool_args": False}, {"response_format": {"type": "json_object"}, "tools": []}, False),
        ({"always_for": ["gpt-*"]}, {}, False),
        ({"always_for": ["other"]}, {}, True),
        ({"always_for": ["other"]}, {"functions": []}, False),
    ],
)
def test_calls_that_ask_for_no_json_go_past_it(settings: dict[str, Any], asked: dict[str, Any], passes: bool) -> None:
    x = exchange()
    x.req.update(asked)
    assert JsonRepair(JsonRepair.Settings(**settings)).passes(x) is passes
