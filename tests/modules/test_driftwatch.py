"""driftwatch: a model that begins to answer differently, over HTTP; and that chance is no drift."""

from __future__ import annotations

import random
import sqlite3
from time import time_ns
from typing import Any

import pytest

from instance.chute.modules.observe.drift_series import METRICS, DriftSeries, Sample
from instance.chute.modules.observe.driftwatch import DriftWatch
from instance.core.clock import Clock
from tests.mock_replies import Reply, status, text
from tests.modules.conftest import Running, running
from tests.modules.exchanges import exchange, target, whole

NUMBERS = [metric for metric in METRICS if metric != "embedding"]
WORDS = [
    "the",
    "model",
    "says",
    "that",
    "a",
    "river",
    "and",
    "its",
    "bank",
    "are",
    "wide",
    "when",
    "rain",
    "falls",
    "on",
    "hills",
    "near",
    "town",
    "for",
    "many",
    "days",
    "in",
    "spring",
]


def answer(source: random.Random, words: int) -> str:
    """About so many words, in sentences."""
    made = [source.choice(WORDS) for _ in range(max(1, round(source.gauss(words, words / 8))))]
    return " ".join(word + "." if place % 9 == 8 else word for place, word in enumerate(made, 1)) + "."


async def calls(s: Running, answers: list[str], **more: Any) -> None:
    for said in answers:
        s.mock.script(text(said))
        assert (await s.chat(**more)).status_code == 200


async def seen(s: Running) -> dict[str, Any]:
    await s.module("driftwatch").tick()
    answered = await s.http(s.admin_key).get("/api/observe/drift")
    assert answered.status_code == 200
    found: dict[str, Any] = answered.json()
    return found


async def metrics(s: Running) -> list[str]:
    return [event["metric"] for event in (await seen(s))["events"]]


async def test_answers_that_get_twice_as_long_are_one_drift_of_length_and_none_of_json() -> None:
    source = random.Random(7)
    async with running({"driftwatch": {"metrics": NUMBERS}}) as s:
        await calls(s, [answer(source, 50) for _ in range(200)])
        assert (await seen(s))["events"] == []
        await calls(s, [answer(source, 100) for _ in range(100)])
        found = await seen(s)
        by_metric = [event["metric"] for event in found["events"]]
        assert by_metric.count("length") == 1
        assert "json" not in by_metric and "refusal" not in by_metric
        (event,) = [event for event in found["events"] if event["metric"] == "length"]
        assert event["series"] == "up/small"
        assert event["q"] < 0.01 and event["effect"] > 2
        assert event["ended_at"] is None
        assert abs(int(event["baseline"].split()[1]) - 50) < 5 and abs(int(event["now"].split()[1]) - 100) < 8
        (series,) = found["series"]
        assert (series["baseline"], series["window"]) == (200, 100)


def samples(source: random.Random, count: int) -> list[Sample]:
    return [
        Sample(
            max(1, round(source.gauss(50, 8))),
            1 + source.randrange(6),
            source.random() < 0.03,
            source.random() < 0.2,
            source.random() < 0.3,
            "length" if source.random() < 0.1 else "stop",
            source.lognormvariate(6, 0.5),
            source.choice(["en", "en", "en", "de", ""]),
            "fp_1",
            "small",
        )
        for _ in range(count)
    ]


def test_of_twenty_runs_of_three_hundred_answers_of_one_kind_at_most_one_drifts() -> None:
    drifted = 0
    for seed in range(20):
        series, source = DriftSeries(200, 100), random.Random(seed)
        for sample in samples(source, 300):
            drifted += sum(finding.drifted for finding in series.add(sample))
            if series.is_complete and series.is_due(50):
                drifted += sum(finding.drifted for finding in series.round(METRICS, 0.01, 0.3))
    assert drifted <= 1


def test_a_round_comes_each_so_many_answers_once_the_window_is_full() -> None:
    series, rounds = DriftSeries(200, 100), []
    for number, sample in enumerate(samples(random.Random(1), 500), 1):
        series.add(sample)
        if series.is_complete and series.is_due(50):
            series.round(("length",), 0.01, 0.3)
            rounds.append(number)
    assert rounds == [300, 350, 400, 450, 500]


async def test_a_drift_is_told_once_and_ends_when_it_is_gone() -> None:
    source = random.Random(5)
    settings = {"baseline_n": 60, "window_n": 30, "every_n": 30, "metrics": ["refusal"]}
    async with running({"driftwatch": settings}) as s:
        good = ["Here is what you asked for."] * 60
        await calls(s, good)
        await calls(s, ["I'm sorry, but I can't help with that."] * 60)
        found = await seen(s)
        assert [event["metric"] for event in found["events"]] == ["refusal"]
        assert (found["events"][0]["baseline"], found["events"][0]["now"]) == ("0.0 %", "100.0 %")
        assert found["series"][0]["drifted"] == ["refusal"]
        await calls(s, source.sample(good, 30))
        found = await seen(s)
        assert [event["ended_at"] is None for event in found["events"]] == [False]
        assert found["series"][0]["drifted"] == []


async def test_streams_are_seen_with_how_they_finish() -> None:
    settings = {"baseline_n": 30, "window_n": 30, "every_n": 30, "metrics": ["finish_reason", "length"]}
    async with running({"driftwatch": settings}) as s:
        for number in range(60):
            s.mock.script(text("some words of an answer", finish="stop" if number < 30 else "length"))
            async for _ in await s.sdk().chat.completions.create(**s.body(), stream=True):
                pass
        found = await seen(s)
        assert [(event["metric"], event["baseline"], event["now"]) for event in found["events"]] == [
            ("finish_reason", "stop 100 %", "length 100 %")
        ]


async def test_what_answers_are_about_is_compared_by_meaning() -> None:
    pytest.importorskip("onnxruntime")
    source = random.Random(11)
    rivers = ["The river is {} and its bank is {}.", "Boats go {} down the {} river."]
    money = ["The shares of the {} bank fell {}.", "Interest on the {} loan is {}."]
    kinds = ["wide", "slow", "old", "long", "new", "deep", "short", "small"]
    settings = {"baseline_n": 30, "window_n": 30, "every_n": 30, "metrics": ["embedding"]}
    async with running({"driftwatch": settings}) as s:

        def about(forms: list[str]) -> list[str]:
            return [source.choice(forms).format(source.choice(kinds), source.choice(kinds)) for _ in range(30)]

        await calls(s, about(rivers))
        await calls(s, about(rivers))
        assert await metrics(s) == []
        await calls(s, about(money))
        assert await metrics(s) == ["embedding"]

        def stored(connection: sqlite3.Connection) -> str:
            return repr(connection.execute("SELECT * FROM drift_baselines").fetchall())

        assert "river" not in await s.instance.core.database.read(stored)


async def test_a_new_fingerprint_and_a_new_name_of_the_model_are_told_at_once() -> None:
    async with running({"driftwatch": {"baseline_n": 30, "metrics": ["fingerprint", "model_name"]}}) as s:
        for number in range(40):
            s.mock.script(Reply(text="x", more={"system_fingerprint": f"fp_{number // 35}"}))
            await s.chat()
        events = (await seen(s))["events"]
        assert [(event["metric"], event["baseline"], event["now"]) for event in events] == [
            ("fingerprint", "fp_0", "fp_1")
        ]
        renamed = Reply(text="x", more={"model": "small-2", "system_fingerprint": "fp_1"})
        s.mock.script(renamed, renamed)
        await s.chat()
        await s.chat()
        assert await metrics(s) == ["model_name", "fingerprint"]


async def test_series_are_apart_by_model_and_tag_and_answers_from_a_cache_are_none() -> None:
    settings = {"by_tag": "feature", "metrics": NUMBERS}
    async with running({"driftwatch": settings, "cachelayer": {}}) as s:
        for feature in ("a", "b", "a"):
            await s.chat("hi", headers={"X-Stockyard-Tags": f"feature={feature}"})
        await s.chat("hi again", model="up/large")
        rows = {row["series"]: row["baseline"] for row in (await seen(s))["series"]}
        assert rows == {"up/small feature=a": 1, "up/large": 1}


async def test_the_baseline_survives_a_restart_and_open_drifts_are_not_told_again() -> None:
    settings = {"baseline_n": 30, "window_n": 30, "every_n": 30, "metrics": ["length"]}
    async with running({"driftwatch": settings}) as s:
        source = random.Random(3)
        await calls(s, [answer(source, 20) for _ in range(30)])
        await calls(s, [answer(source, 60) for _ in range(30)])
        assert await metrics(s) == ["length"]
        await s.configure({"driftwatch": False})
        await s.configure({"driftwatch": settings})
        await calls(s, [answer(source, 60) for _ in range(30)])
        assert await metrics(s) == ["length"]
        await calls(s, [answer(source, 20) for _ in range(30)])
        assert [event["ended_at"] is None for event in (await seen(s))["events"]] == [False]


@pytest.mark.parametrize("take", ["latest", "next"])
async def test_a_new_baseline_ends_what_drifted(take: str) -> None:
    settings = {"baseline_n": 30, "window_n": 30, "every_n": 30, "metrics": ["length"]}
    async with running({"driftwatch": settings}) as s:
        source = random.Random(4)
        client = s.http(s.admin_key)
        await calls(s, [answer(source, 20) for _ in range(30)])
        unknown = await client.post("/api/observe/drift/baseline", json={"series": "up/large", "take": "latest"})
        assert unknown.status_code == 404
        await seen(s)
        early = await client.post("/api/observe/drift/baseline", json={"series": "up/small", "take": "latest"})
        assert early.status_code == 409
        await calls(s, [answer(source, 60) for _ in range(30)])
        assert await metrics(s) == ["length"]
        made = await client.post("/api/observe/drift/baseline", json={"series": "up/small", "take": take})
        assert made.status_code == 200
        await calls(s, [answer(source, 60) for _ in range(60)])
        found = await seen(s)
        assert [event["ended_at"] is None for event in found["events"]] == [False]
        assert found["series"][0]["drifted"] == []


async def test_an_alert_on_drift_fires() -> None:
    settings = {"baseline_n": 30, "window_n": 30, "every_n": 30, "metrics": ["json"]}
    async with running({"driftwatch": settings, "alertpulse": {"for_s": 0}}) as s:
        client = s.http(s.admin_key)
        rule = {"name": "drift", "metric": "drift", "threshold": 0, "filter": {"model": "small"}}
        made = (await client.post("/api/observe/alerts", json=rule)).json()
        await calls(s, ['{"a": 1}'] * 30)
        await calls(s, ["It is one."] * 30)
        assert await metrics(s) == ["json"]
        await s.module("alertpulse").tick()
        assert (await client.get(f"/api/observe/alerts/{made['id']}")).json()["state"] == "firing"


class Day(Clock):
    """Noon of a day after another."""

    def __init__(self) -> None:
        self.days = 0

    def wall_ns(self) -> int:
        return time_ns() + self.days * 86_400 * 10**9


async def test_a_canary_is_asked_once_a_day_and_compared_with_its_past() -> None:
    canary = {"name": "capital", "model": "up/small", "prompt": "Name the capital of France."}
    settings = {"canaries": [canary], "canary_hour": 0, "metrics": NUMBERS}
    async with running({"driftwatch": settings}) as s:
        clock = s.instance.core.clock = Day()
        for day in range(7):
            clock.days = day
            s.mock.script(text("Paris is the capital." if day < 6 else "Paris, a city of light and of much else. " * 5))
            for _ in range(3):
                await s.module("driftwatch").tick()
        assert len(s.mock.calls) == 7
        assert s.mock.calls[0].json()["messages"] == [{"role": "user", "content": canary["prompt"]}]
        events = (await seen(s))["events"]
        assert [(event["metric"], event["series"], event["baseline"]) for event in events] == [
            ("canary capital", "up/small", "4 to 4 words")
        ]
        (trace, *_) = await s.recent_traces(1)
        assert trace["tags"] == {"canary": "capital"} and trace["tokens_out"] > 0


async def test_a_canary_that_fails_is_recorded_and_asked_again_an_hour_later() -> None:
    canary = {"name": "capital", "model": "up/small", "prompt": "Name the capital of France."}
    settings = {"canaries": [canary], "canary_hour": 0, "metrics": NUMBERS}
    async with running({"driftwatch": settings, "retry": False}) as s:
        clock = s.instance.core.clock = Day()
        s.mock.script(status(500))
        for _ in range(2):
            await s.module("driftwatch").tick()
        assert len(s.mock.calls) == 1
        (trace,) = await s.recent_traces(1)
        assert (trace["status"], trace["error"]["code"]) == ("error", "provider_error")
        clock.days = 1
        await s.module("driftwatch").tick()
        assert len(s.mock.calls) == 2


async def test_without_the_extra_everything_but_the_meaning_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("embedding.embedder", "modules.observe.driftwatch"):
        monkeypatch.setattr(f"instance.chute.{where}.missing_packages", lambda: ["onnxruntime"])
    async with running({"driftwatch": {}}) as s:
        assert "embedding" not in s.module("driftwatch").report()["metrics"]
        answered = await s.http(s.admin_key).put(
            "/api/proxy/modules/driftwatch", json={"config": {"metrics": ["embedding"]}}
        )
        assert answered.status_code == 501
        assert "stockyard[semantic]" in answered.json()["error"]["message"]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"metrics": ["colour"]}, "config.metrics"),
        ({"alpha": 0}, "config.alpha"),
        ({"window_n": 5}, "config.window_n"),
        ({"canaries": [{"name": "a", "model": "m", "prompt": "p"}] * 2}, "config.canaries"),
    ],
)
async def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], where: str) -> None:
    async with running({"driftwatch": {"metrics": NUMBERS}}) as s:
        answered = await s.http(s.admin_key).put("/api/proxy/modules/driftwatch", json={"config": settings})
        assert (answered.status_code, answered.json()["error"]["param"]) == (422, where)
        assert (await s.chat()).status_code == 200


@pytest.mark.parametrize(
    "obj",
    [
        {"choices": []},
        {"choices": [{"message": {"content": None}}]},
        {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]},
        {"choices": [{"message": None, "text": 3}]},
    ],
)
def test_an_answer_that_says_nothing_is_not_looked_at(obj: dict[str, Any]) -> None:
    module, x = DriftWatch(DriftWatch.Settings()), exchange()
    x.answer = whole()
    x.answer.obj = obj
    module.on_finish(x)
    assert not module._waiting


def test_of_an_answer_what_it_says_is_kept_and_what_is_no_name_is_left_out() -> None:
    module, x = DriftWatch(DriftWatch.Settings()), exchange()
    x.upstream_ns = 5_000_000
    x.answer = whole("hello", target("openai/gpt-4o"))
    x.answer.obj = {
        "model": "m" * 300,
        "system_fingerprint": 7,
        "choices": [{"text": "a" * 30_000, "message": {"tool_calls": []}, "finish_reason": ["stop"]}],
    }
    module.on_finish(x)
    (kept,) = module._waiting
    assert kept == ("openai/gpt-4o", "a" * 20_000, False, "", 5.0, "", "m" * 200)
    assert (kept.series, kept.text, kept.latency_ms) == (kept[0], kept[1], 5.0)
    x.answer.obj = {"choices": [{"message": {"content": None, "tool_calls": [{}]}, "finish_reason": "tool_calls"}]}
    module.on_finish(x)
    assert module._waiting[-1][1:4] == ("", True, "tool_calls")
