"""abrouter over HTTP: who gets which variant, and what the variants came to."""

import asyncio
from collections import Counter
from typing import Any

import httpx2
import pytest

from instance.chute.modules.routing.experiment_figures import (
    Mean,
    VariantFigures,
    differences,
    student_t,
    welch,
    wilson,
)
from tests.mock_replies import status
from tests.modules.conftest import Running, running
from tests.modules.restarts import restarting

EVEN = {
    "name": "size",
    "match": "up/*",
    "variants": [
        {"name": "a", "weight": 1, "model": "up/small"},
        {"name": "b", "weight": 1, "model": "up/large"},
    ],
}


def experiments(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"abrouter": {"experiments": list(rows), **more}}


async def report(s: Running) -> dict[str, Any]:
    shown = (await s.http(s.admin_key).get("/api/proxy/modules/abrouter")).json()["report"]
    (row,) = shown["experiments"]
    found: dict[str, Any] = row
    return found


async def test_four_hundred_users_are_split_in_half_and_each_keeps_its_variant():
    async with running(experiments(EVEN)) as s:
        http = s.http()

        async def variant_of(user: str) -> str:
            answer = await http.post("/v1/chat/completions", json=s.body(user=user))
            return f"{answer.headers['x-stockyard-variant']} {answer.headers['x-stockyard-model']}"

        async def everybody() -> list[str]:
            found: list[str] = []
            for start in range(0, 400, 20):
                found += await asyncio.gather(*(variant_of(f"user-{number}") for number in range(start, start + 20)))
            return found

        first = await everybody()
        split = Counter(first)
        assert set(split) == {"size/a small", "size/b large"}
        assert all(160 <= count <= 240 for count in split.values())
        assert await everybody() == first


async def test_a_user_keeps_the_variant_after_a_restart():
    async def variants(http: httpx2.AsyncClient) -> list[str]:
        found = []
        for number in range(12):
            body = {"model": "up/small", "messages": [{"role": "user", "content": "hi"}], "user": f"user-{number}"}
            found.append(str((await http.post("/v1/chat/completions", json=body)).headers["x-stockyard-variant"]))
        return found

    async with restarting() as starts:
        async with starts.started({"abrouter": {"experiments": [EVEN]}}) as http:
            before = await variants(http)
        async with starts.started() as http:
            assert await variants(http) == before
        assert set(before) == {"size/a", "size/b"}


async def test_streams_take_part_and_the_trace_names_the_variant():
    only = {**EVEN, "variants": [{"name": "b", "weight": 1, "model": "up/large"}]}
    async with running(experiments(only)) as s:
        stream = await s.sdk().chat.completions.create(**s.body(), stream=True)
        assert [chunk async for chunk in stream]
        (trace,) = await s.recent_traces(1)
        assert (trace["model"], trace["tags"]) == ("large", {"experiment": "size", "variant": "b"})
        assert (await report(s))["variants"]["b"]["count"] == 1


async def test_a_variant_may_set_parameters_and_add_to_the_instructions():
    only = {
        "name": "tone",
        "variants": [{"name": "x", "weight": 1, "params": {"temperature": 0.1}, "system_suffix": "Rhyme."}],
    }
    async with running(experiments(only)) as s:
        messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]
        await s.chat(messages=messages, temperature=0.9)
        sent = s.mock.calls[-1].json()
        assert (sent["temperature"], sent["messages"][0]["content"]) == (0.1, "Be kind.\n\nRhyme.")


async def test_audience_share_and_pause_decide_who_takes_part():
    only = {**EVEN, "teams": ["acme"]}
    async with running(experiments(only)) as s:
        assert "x-stockyard-variant" not in (await s.chat()).headers
        assert "x-stockyard-variant" in (await s.chat(headers={"X-Stockyard-Team": "acme"})).headers
        await s.configure(experiments({**EVEN, "match": "other/*"}))
        assert "x-stockyard-variant" not in (await s.chat()).headers
        await s.configure(experiments({**EVEN, "share_pct": 0}))
        assert "x-stockyard-variant" not in (await s.chat()).headers
        await s.configure(experiments({**EVEN, "active": False}))
        assert "x-stockyard-variant" not in (await s.chat()).headers
        await s.configure(experiments({**EVEN, "share_pct": 25}))
        taken = ["x-stockyard-variant" in (await s.chat(user=f"u{number}")).headers for number in range(80)]
        assert 8 <= sum(taken) <= 36


async def test_a_variant_never_leads_out_of_what_the_key_allows():
    only = {"name": "out", "variants": [{"name": "x", "weight": 1, "model": "mock/gpt"}]}
    async with running(experiments(only)) as s:
        principal = next(one for one in s.instance.core.keys.principals() if one.kind == "proxy")
        principal.models = ("up/*",)
        answer = await s.chat()
        assert answer.headers["x-stockyard-provider"] == "up"
        assert "x-stockyard-variant" not in answer.headers


async def test_the_report_counts_errors_and_says_when_there_is_not_enough_data():
    only = {**EVEN, "unit": "request"}
    async with running({**experiments(only, min_samples=5), "retry": False}) as s:
        s.mock.script(status(500), status(500))
        for _ in range(40):
            await s.chat()
        row = await report(s)
        assert sum(one["count"] for one in row["variants"].values()) == 40
        assert sum(one["errors"] for one in row["variants"].values()) == 2
        assert set(row["differences"]["b"]["tokens"]) == {"difference", "low", "high", "significant"}
        assert row["differences"]["b"]["rating"] == "not enough data"
        s.module("abrouter").rate("size", "a", 1.0)
        assert (await report(s))["variants"]["a"]["rating_mean"] == 1.0
        await s.configure(experiments(only, min_samples=100))
        row = await report(s)
        assert sum(one["count"] for one in row["variants"].values()) == 40
        assert row["differences"]["b"]["error_rate"] == "not enough data"


@pytest.mark.parametrize(
    "variants",
    [
        [{"name": "a", "weight": 0}, {"name": "b", "weight": 0}],
        [{"name": "a", "weight": -1}],
        [{"name": "a", "weight": 1}, {"name": "a", "weight": 1}],
        [{"name": "a", "weight": 1, "params": {"model": "x"}}],
        [],
    ],
)
async def test_bad_weights_are_refused_when_they_are_saved(variants):
    async with running() as s:
        config = {"config": {"experiments": [{"name": "x", "variants": variants}]}}
        assert (await s.http(s.admin_key).put("/api/proxy/modules/abrouter", json=config)).status_code == 422


def mean_of(*values: float) -> Mean:
    mean = Mean()
    for value in values:
        mean.add(value)
    return mean


def test_intervals_are_those_of_the_textbooks():
    assert wilson(10, 100) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert student_t(10) == pytest.approx(2.228, abs=1e-3)
    assert student_t(100) == pytest.approx(1.984, abs=1e-3)
    found = welch(
        mean_of(27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4),
        mean_of(27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 24.4),
    )
    assert found["difference"] == pytest.approx(2.8333, abs=1e-3)
    assert found["low"] > 0
    assert found["significant"]


def test_a_difference_of_rates_is_shown_with_its_interval():
    a, b = VariantFigures(), VariantFigures()
    a.calls, a.errors, b.calls, b.errors = 70, 56, 80, 48
    found = differences(a, b, 50)["error_rate"]
    assert found["difference"] == pytest.approx(-0.2)
    assert (found["low"], found["high"]) == pytest.approx((-0.3339, -0.0524), abs=1e-3)
