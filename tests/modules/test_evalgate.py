"""evalgate over HTTP: what is good enough, what is asked again, and what that may cost."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest

from instance.chute import asked_again
from instance.chute.modules.validate.answer_checks import Check, Said, passes, reading_ease, refuses
from tests.mock_replies import Failure, Reply, delay, status, text, tool
from tests.mock_upstream import MockUpstream, until
from tests.modules.conftest import Running, running

LONG = "This is an answer that is long enough."
PRICES = '[prices."up/small"]\nin_usd_per_mtok = 1000\nout_usd_per_mtok = 1000\n'


def _gate(*checks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"evalgate": {"checks": list(checks), **more}}


MIN_20 = {"type": "min_chars", "params": {"value": 20}}


async def _ask(s: Running, stream: bool = False, question: str = "hi", **more: Any) -> str:
    made = await s.sdk().chat.completions.create(**s.body(question, **more), stream=stream)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


async def _scores(s: Running) -> list[Any]:
    (trace,) = await s.recent_traces(1)
    return [detail["score"] for action, detail in await s.trail(trace["id"], "evalgate") if action == "score"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bad_answer_is_asked_for_again_and_the_good_one_delivered(stream: bool) -> None:
    async with running(_gate(MIN_20), config=PRICES) as s:
        s.mock.script(text("no"), text(LONG))
        assert await _ask(s, stream) == LONG
        assert len(s.mock.calls) == 2
        told = s.mock.calls[1].json()["messages"]
        assert told[-2] == {"role": "assistant", "content": "no"}
        assert "shorter than 20 characters" in told[-1]["content"]
        assert await _scores(s) == [0, 1]
        (trace,) = await s.recent_traces(1)
        assert trace["measures"]["eval_score"] == 1
        costs = {line["what"]: line["usd"] for line in trace["costs"]}
        assert any(what.startswith("evalgate:1:") for what in costs)
        assert trace["cost_usd"] == pytest.approx(sum(costs.values()))


async def test_a_stream_whose_provider_fails_at_once_fails_with_its_status() -> None:
    async with running({**_gate(MIN_20), "retry": False}) as s:
        s.mock.script(status(429, retry_after_s=7), text(LONG))
        refused = await s.chat(stream=True)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
        good = await s.chat(stream=True)
        assert (good.headers["x-stockyard-eval-score"], good.headers["x-stockyard-provider"]) == ("1.0", "up")


async def test_a_stream_that_takes_longer_is_opened_before_its_answer_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked_again, "OPEN_AFTER_S", 0.05)
    async with running({**_gate(MIN_20), "retry": False}) as s:
        s.mock.script(delay(0.3, LONG), Reply(delay_s=0.3, status=503, failure=Failure(503, "busy")))
        assert await _ask(s, True) == LONG
        late = await s.chat(stream=True)
        assert late.status_code == 200
        assert '"code":"provider_error"' in late.text


@pytest.mark.parametrize("open_after_s", [0.05, 30.0])
async def test_who_leaves_such_a_stream_ends_the_call_to_the_provider(
    monkeypatch: pytest.MonkeyPatch, open_after_s: float
) -> None:
    monkeypatch.setattr(asked_again, "OPEN_AFTER_S", open_after_s)
    async with running(_gate(MIN_20)) as s:
        s.mock.script(delay(30))
        with pytest.raises(httpx2.TimeoutException):
            await s.http().post("/v1/chat/completions", json=s.body(stream=True), timeout=0.4)
        await until(lambda: s.mock.calls[0].hung_up)
        await until(lambda: s.instance.chute.in_flight == 0)
        (trace,) = await s.recent_traces(1)
        assert (trace["status"], [row["error"] for row in trace["attempts"]]) == ("cancelled", ["cancelled"])


async def test_what_is_asked_again_begins_where_the_first_attempt_began() -> None:
    async with MockUpstream() as other:
        config = f'[providers.b]\nbase_url = "{other.url}"\napi_key = "key-of-the-other-1"\nmodels = ["large"]\n'
        chain = {"chains": [{"match": "small", "targets": ["b/large"]}]}
        async with running({**_gate(MIN_20), "fallbackrouter": chain, "retry": False}, config=config) as s:
            s.mock.script(status(503), text(LONG))
            other.script(text("no"))
            answer = await s.chat()
            assert answer.json()["choices"][0]["message"]["content"] == LONG
            assert (len(s.mock.calls), len(other.calls)) == (2, 1)
            trace = await s.trace(answer.headers["x-stockyard-trace-id"])
            assert [(each["n"], each["provider"]) for each in trace["attempts"]] == [(1, "up"), (2, "b"), (3, "up")]
            assert (trace["provider"], trace["tokens_out"]) == ("up", answer.json()["usage"]["completion_tokens"])
            assert "fallback" not in (trace["tags"] or {})
            assert any(action == "hop" for action, _ in await s.trail(trace["id"], "fallbackrouter"))

            s.mock.script(status(503))
            other.script(text(LONG))
            trace = await s.trace((await s.chat("good at once")).headers["x-stockyard-trace-id"])
            assert (trace["provider"], trace["tags"]["fallback"]) == ("b", "true")
            assert [(each["n"], each["provider"]) for each in trace["attempts"]] == [(1, "up"), (2, "b")]


async def test_the_score_is_in_a_header_and_never_an_endless_loop() -> None:
    async with running(_gate(MIN_20)) as s:
        s.mock.script(text("no"), text(LONG))
        assert (await s.chat()).headers["x-stockyard-eval-score"] == "1.0"
        s.mock.script(text("no"), text("no"), text("no"), text("no"))
        answer = await s.chat()
        assert answer.json()["choices"][0]["message"]["content"] == "no"
        assert float(answer.headers["x-stockyard-eval-score"]) < 1
        assert len(s.mock.calls) == 4


async def test_the_best_attempt_is_delivered() -> None:
    checks = (MIN_20, {"type": "contains", "params": {"text": "tea"}})
    async with running(_gate(*checks, max_retries=2)) as s:
        s.mock.script(text("no"), text("It is tea that I recommend to you."[:20] + " tea"), text("no"))
        assert "tea" in await _ask(s)
        s.mock.script(text("tea"), text("no"), text("no"))
        assert await _ask(s) == "tea"


@pytest.mark.parametrize("stream", [False, True])
async def test_reject_refuses_with_what_failed(stream: bool) -> None:
    async with running(_gate({**MIN_20, "action": "reject"})) as s:
        s.mock.script(text("no"))
        with pytest.raises(openai.APIError) as caught:
            await _ask(s, stream)
        assert caught.value.code == "quality_rejected"
        assert len(s.mock.calls) == 1
        if not stream:
            assert caught.value.body["details"]["failed"][0]["type"] == "min_chars"  # type: ignore[index]


@pytest.mark.parametrize("stream", [False, True])
async def test_flag_only_notes(stream: bool) -> None:
    async with running(_gate({**MIN_20, "action": "flag"}, {"type": "not_empty"} | {"action": "flag"})) as s:
        s.mock.script(text("no"))
        assert await _ask(s, stream) == "no"
        assert len(s.mock.calls) == 1
        assert await _scores(s) == [0.5]


async def test_a_judge_grades_by_a_rubric_and_another_model_may_answer_again() -> None:
    judge = {"type": "judge", "params": {"rubric": "Is it polite?", "min_score": 6}}
    async with running(_gate(judge, judge_model="up/large", retry_model="up/large")) as s:
        s.mock.script(
            text("Go away."),
            text('{"score": 2, "reason": "rude"}'),
            text("Please sit."),
            text('```json\n{"score": 9}\n```'),
        )
        assert await _ask(s) == "Please sit."
        assert [call.json()["model"] for call in s.mock.calls] == ["small", "large", "large", "large"]
        assert "Is it polite?" in s.mock.calls[1].json()["messages"][0]["content"]
        assert s.mock.calls[1].json()["temperature"] == 0
        assert "rude" in s.mock.calls[2].json()["messages"][-1]["content"]
        assert await _scores(s) == [0.2, 0.9]


async def test_a_judge_that_fails_or_says_nothing_does_not_count() -> None:
    judge = {"type": "judge", "weight": 5}
    async with running({**_gate(judge, MIN_20, judge_model="up/large"), "retry": False}) as s:
        for reply in (status(400), text("very good")):
            s.mock.script(text(LONG), reply)
            assert await _ask(s) == LONG
            assert await _scores(s) == [1]
        await s.configure(_gate(judge, judge_sample_pct=0))
        s.mock.script(text("no"))
        assert await _ask(s) == "no"


async def test_more_attempts_end_where_they_would_cost_too_much() -> None:
    async with running(_gate(MIN_20, max_retries=5, max_extra_usd=0.0001), config=PRICES) as s:
        s.mock.script(*[text("no")] * 6)
        assert await _ask(s) == "no"
        assert len(s.mock.calls) == 1


async def test_tool_calls_are_no_answers_and_a_failing_retry_leaves_the_first() -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    async with running({**_gate(MIN_20), "retry": False}) as s:
        s.mock.script(tool("look", {}))
        made = await s.sdk().chat.completions.create(**s.body("look", tools=tools))
        assert made.choices[0].message.tool_calls
        assert len(s.mock.calls) == 1
        s.mock.script(text("no"), status(500))
        assert await _ask(s) == "no"


async def test_similarity_asks_whether_the_answer_speaks_of_the_question() -> None:
    async with running(_gate({"type": "similarity", "params": {"min": 0.4}})) as s:
        s.mock.script(text("The stock market fell on Monday."), text("Bread is baked at 220 degrees for 40 minutes."))
        answer = await _ask(s, question="How do I bake bread at home?")
        assert answer.startswith("Bread")


@pytest.mark.parametrize(
    ("check", "param"),
    [
        ({"type": "nonsense"}, "config.checks.0.type"),
        ({"type": "min_chars"}, "config.checks.0"),
        ({"type": "matches", "params": {"pattern": "(?=x)"}}, "config.checks.0"),
        ({"type": "json_schema", "params": {"schema": {"type": 5}}}, "config.checks.0"),
        ({"type": "language", "params": {"code": "zz"}}, "config.checks.0.params.code"),
        ({"type": "not_empty", "weight": 0}, "config.checks.0.weight"),
    ],
)
async def test_settings_that_cannot_be_are_refused_by_name(check: dict[str, Any], param: str) -> None:
    async with running() as s:
        config = {"enabled": True, "config": {"checks": [check]}}
        answer = await s.http(s.admin_key).put("/api/proxy/modules/evalgate", json=config)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ({"type": "not_empty"}, "x", " \n"),
        ({"type": "max_words", "params": {"max": 2}}, "a b", "a b c"),
        ({"type": "contains", "params": {"text": "Tea", "ignore_case": True}}, "some tea", "coffee"),
        ({"type": "not_contains", "params": {"value": "tea"}}, "coffee", "tea"),
        ({"type": "matches", "params": {"re2": r"^\d+$"}}, "42", "x"),
        ({"type": "not_matches", "params": {"pattern": r"\d"}}, "x", "42"),
        ({"type": "json"}, "[1]", "x"),
        ({"type": "json_schema", "params": {"schema": {"type": "array"}}}, "[1]", "{}"),
        (
            {"type": "language", "params": {"code": "de"}},
            "Das ist ein ganz normaler Satz.",
            "This is a normal sentence.",
        ),
        (
            {"type": "not_refusal"},
            "Sorry to hear that. Here is what you can do.",
            "I'm sorry, but I can't help with that.",
        ),
        (
            {"type": "readability", "params": {"min": 60}},
            "The cat sat on the mat. It was warm.",
            "Institutional heterogeneity necessitates organisational reconfiguration.",
        ),
    ],
)
def test_each_check(check: dict[str, Any], good: str, bad: str) -> None:
    made = Check.model_validate(check)
    assert passes(made, Said(good, "stop"))
    assert not passes(made, Said(bad, "stop"))


def test_cut_answers_refusals_and_readability() -> None:
    assert not passes(Check(type="not_cut"), Said("x", "length"))
    for said in (
        "I cannot assist with that request.",
        "Leider kann ich dabei nicht helfen.",
        "Lo siento, pero no puedo ayudar con eso.",
        "As an AI, I am unable to provide that.",
    ):
        assert refuses(said, [])
    for said in (
        "I can't wait to show you the answer: 42.",
        "You cannot divide by zero, so it is undefined.",
        "Unfortunately the train is late.",
    ):
        assert not refuses(said, [])
    assert refuses("Nope. Never.", ["nope"])
    assert reading_ease("Go now. Run fast.") > 100
