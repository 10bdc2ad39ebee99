"""paramnorm over HTTP, and what it makes of requests."""

from typing import Any

import openai
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from instance.chute.model_parameters import ModelParameters, bundled_rules
from instance.chute.parameter_fit import Fit, nearest_value
from tests.mock_replies import status
from tests.modules.conftest import Running, running

REASONING = {"table": {"up/small": {"reasoning": True}}}


def sent(s: Running) -> dict[str, Any]:
    body: dict[str, Any] = s.mock.calls[-1].json()
    return body


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_reasoning_model_gets_what_it_takes(streamed):
    async with running({"paramnorm": REASONING}) as s:
        made = await s.sdk().chat.completions.create(**s.body(max_tokens=50, temperature=0.2), stream=streamed)
        if streamed:
            assert [chunk async for chunk in made]
        assert sent(s)["max_completion_tokens"] == 50
        assert not {"max_tokens", "temperature"} & sent(s).keys()
        (trace,) = await s.recent_traces(1)
        notes = [entry["detail"] for entry in trace["decisions"] if entry["module"] == "paramnorm"]
        assert {note["name"]: (note["from"], note["to"]) for note in notes} == {
            "max_tokens": (50, {"max_completion_tokens": 50}),
            "temperature": (0.2, None),
        }


async def test_what_is_not_taken_may_be_refused_instead():
    async with running({"paramnorm": {**REASONING, "on_unsupported": "reject"}}) as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(**s.body(max_tokens=50, temperature=0.2))
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "temperature")
        assert not s.mock.calls
        assert (await s.chat(max_tokens=50, temperature=1)).status_code == 200


async def test_a_stream_without_include_usage_has_no_usage_chunk_but_tokens_in_the_ledger():
    async with running() as s:
        stream = await s.sdk().chat.completions.create(**s.body(), stream=True)
        chunks = [chunk async for chunk in stream]
        assert all(chunk.usage is None and chunk.choices for chunk in chunks)
        assert sent(s)["stream_options"] == {"include_usage": True}
        (trace,) = await s.recent_traces(1)
        assert (trace["usage_source"], trace["tokens_out"] > 0) == ("reported", True)
        await s.configure({"paramnorm": {"add_stream_usage": False}})
        stream = await s.sdk().chat.completions.create(**s.body(), stream=True)
        assert all(chunk.choices for chunk in [chunk async for chunk in stream])
        assert "stream_options" not in sent(s)


async def test_a_call_that_needs_no_change_goes_out_byte_for_byte():
    async with running({"paramnorm": REASONING}) as s:
        body = b'{ "model":"large",  "messages":[{"role":"user","content":"hi"}],"temperature":0.2,"max_tokens":50}'
        headers = {"content-type": "application/json"}
        assert (await s.http().post("/v1/chat/completions", content=body, headers=headers)).status_code == 200
        assert s.mock.calls[-1].body == body
        body = body.replace(b'"large"', b'"small"').replace(
            b'"temperature":0.2,"max_tokens"', b'"max_completion_tokens"'
        )
        assert (await s.http().post("/v1/chat/completions", content=body, headers=headers)).status_code == 200
        assert s.mock.calls[-1].body == body


async def test_the_next_target_gets_the_request_as_it_was_asked():
    modules: dict[str, Any] = {
        "paramnorm": REASONING,
        "retry": False,
        "fallbackrouter": {"chains": [{"match": "*", "targets": ["up/large"]}]},
    }
    async with running(modules) as s:
        s.mock.script(status(503))
        assert (await s.chat(max_tokens=50, temperature=0.2)).status_code == 200
        first, second = [call.json() for call in s.mock.calls]
        assert (first["model"], first.get("temperature")) == ("small", None)
        assert (second["model"], second["temperature"], second["max_tokens"]) == ("large", 0.2, 50)


async def test_defaults_and_locks_of_a_model():
    own = {"defaults": {"small": {"temperature": 0.3, "max_tokens": 9}}, "locks": {"up/*": {"seed": 7}}}
    async with running({"paramnorm": own}) as s:
        await s.chat(max_completion_tokens=5, seed=1)
        assert (sent(s)["temperature"], sent(s)["seed"], sent(s).get("max_tokens")) == (0.3, 7, None)
        await s.chat(temperature=0.9)
        assert (sent(s)["temperature"], sent(s)["max_tokens"]) == (0.9, 9)
        refused = await s.http(s.admin_key).put(
            "/api/proxy/modules/paramnorm", json={"config": {"locks": {"*": {"model": "x"}}}}
        )
        assert refused.status_code == 422


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_number_of_answers_is_cut_and_the_stream_ends_properly(streamed):
    async with running({"paramnorm": {"table": {"up/*": {"n_max": 1}}}}) as s:
        made = await s.sdk().chat.completions.create(**s.body(n=3), stream=streamed)
        assert sent(s)["n"] == 1
        if streamed:
            choices = [choice for chunk in [chunk async for chunk in made] for choice in chunk.choices]
            assert {choice.index for choice in choices} == {0}
            assert choices[-1].finish_reason == "stop"


async def test_a_prefix_in_an_own_table_is_refused_with_the_field():
    async with running() as s:
        refused = await s.http(s.admin_key).put(
            "/api/proxy/modules/paramnorm", json={"config": {"table": {"up/*": {"stop_maxx": 1}}}}
        )
        assert refused.status_code == 422
        assert "stop_maxx" in refused.text


def fit(**fields: Any) -> Fit:
    made = Fit()
    made.add(ModelParameters(**fields))
    made.seal()
    return made


@pytest.mark.parametrize(
    ("rule", "asked", "expected"),
    [
        ({"ranges": {"temperature": (0, 1)}}, {"temperature": 1.7}, {"temperature": 1}),
        ({"ranges": {"temperature": (0, 1)}}, {"temperature": 0.7}, {"temperature": 0.7}),
        ({"ranges": {"top_p": (0.01, 0.99)}}, {"top_p": 1}, {"top_p": 0.99}),
        ({"stop_max": 2}, {"stop": ["a", "b", "c"]}, {"stop": ["a", "b"]}),
        ({"stop_max": 2}, {"stop": "a"}, {"stop": "a"}),
        ({"max_output_tokens": 100}, {"max_tokens": 500}, {"max_tokens": 100}),
        ({"max_tokens_name": "max_tokens"}, {"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens_name": "max_tokens"}, {"max_completion_tokens": 5, "max_tokens": 6}, {"max_tokens": 6}),
        ({"max_tokens_name": "max_tokens"}, {"max_completion_tokens": 5, "max_tokens": None}, {"max_tokens": 5}),
        ({"tool_choice_required": False}, {"tool_choice": "required"}, {"tool_choice": "auto"}),
        ({"names": {"seed": "random_seed"}}, {"seed": 1}, {"random_seed": 1}),
        ({"unsupported": ["seed"], "supported": ["seed"]}, {"seed": 1}, {"seed": 1}),
        (
            {"values": {"reasoning_effort": ["low", "high"]}},
            {"reasoning_effort": "minimal"},
            {"reasoning_effort": "low"},
        ),
        (
            {"system_role": "system"},
            {"messages": [{"role": "developer", "content": "x"}]},
            {"messages": [{"role": "system", "content": "x"}]},
        ),
        (
            {"system_role": "developer"},
            {"messages": [{"role": "system", "content": "x"}]},
            {"messages": [{"role": "developer", "content": "x"}]},
        ),
    ],
)
def test_what_a_rule_makes_of_a_request(rule, asked, expected):
    before = dict(asked)
    found, changes = fit(**rule).fitted(asked)
    assert found == expected
    assert asked == before
    assert bool(changes) == (asked != expected)
    assert fit(**rule).suits(asked) == (asked == expected)


def test_a_temperature_may_be_scaled():
    made = Fit(scale=True)
    made.add(ModelParameters(ranges={"temperature": (0, 1)}))
    made.seal()
    assert made.fitted({"temperature": 1.0})[0] == {"temperature": 0.5}
    assert made.fitted({"temperature": 2})[0] == {"temperature": 1.0}
    assert not made.suits({"temperature": 1.0})


NAMES = [
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "seed",
    "reasoning_effort",
    "tool_choice",
]
VALUES = st.one_of(
    st.none(),
    st.integers(-3, 300),
    st.floats(-3, 3),
    st.sampled_from(["low", "required", "auto"]),
    st.lists(st.text(max_size=1), max_size=6),
)


@settings(max_examples=400, deadline=None)
@example(asked={"max_tokens": 2.5}, rule=ModelParameters(), more={"max_output_tokens": 1}, scale=False)
@given(
    asked=st.dictionaries(st.sampled_from(NAMES), VALUES),
    rule=st.sampled_from([rule for _, rule in bundled_rules()]),
    more=st.fixed_dictionaries(
        {},
        optional={
            "reasoning": st.booleans(),
            "max_output_tokens": st.integers(1, 200),
            "names": st.just({"seed": "random_seed", "temperature": "heat"}),
            "values": st.just({"reasoning_effort": ["high"]}),
        },
    ),
    scale=st.booleans(),
)
def test_the_quick_question_and_the_full_answer_never_differ(asked, rule, more, scale):
    made = Fit(scale=scale)
    made.add(rule)
    made.add(ModelParameters(**more))
    made.seal()
    assert made.suits(asked) == (made.fitted(asked)[1] == [])


@pytest.mark.parametrize(
    ("asked", "allowed", "expected"),
    [
        ("none", ["low", "medium", "high"], "low"),
        ("minimal", ["none", "low", "high"], "low"),
        ("none", ["none", "high"], "none"),
        ("max", ["low", "medium", "high"], "high"),
        ("medium", ["low", "high"], "low"),
        ("much", ["low", "high"], "low"),
    ],
)
def test_the_nearest_level_of_effort_that_exists(asked, allowed, expected):
    assert nearest_value("reasoning_effort", asked, allowed) == expected


def test_the_bundled_table_is_valid_and_its_globs_name_a_provider():
    rules = bundled_rules()
    assert len(rules) > 20
    assert all(not pattern._bare for pattern, _ in rules)
