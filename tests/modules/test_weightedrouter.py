"""weightedrouter over HTTP: exact ratios, changes while calls run, and what is permitted."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.modules.routing.spread import Spread
from tests.mock_replies import status
from tests.modules.conftest import Running, running


def group(*weights: tuple[str, int]) -> dict[str, Any]:
    return {
        "groups": [{"model": "any", "targets": [{"target": target, "weight": weight} for target, weight in weights]}]
    }


def models_asked(s: Running) -> Counter[str]:
    return Counter(call.json()["model"] for call in s.mock.calls)


async def test_weights_of_three_to_one_are_exact_and_a_weight_of_zero_drains():
    async with running({"weightedrouter": group(("up/small", 3), ("up/large", 1))}) as s:
        sdk = s.sdk()
        for _ in range(40):
            await asyncio.gather(*(sdk.chat.completions.create(**s.body(model="any")) for _ in range(10)))
        assert models_asked(s) == {"small": 300, "large": 100}
        report = (await s.http(s.admin_key).get("/api/proxy/modules/weightedrouter")).json()["report"]
        assert report["picks"]["any"] == {"up/small": 300, "up/large": 100}
        await s.configure({"weightedrouter": group(("up/small", 3), ("up/large", 0))})
        s.mock.calls.clear()
        for _ in range(50):
            assert (await s.chat(model="any")).status_code == 200
        assert models_asked(s) == {"small": 50}


async def test_streams_are_spread_too_and_the_trail_says_where():
    async with running({"weightedrouter": group(("up/small", 1), ("up/large", 1))}) as s:
        for _ in range(4):
            stream = await s.sdk().chat.completions.create(**s.body(model="any"), stream=True)
            assert [chunk async for chunk in stream]
        assert models_asked(s) == {"small": 2, "large": 2}
        (trace,) = await s.recent_traces(1)
        assert [entry["detail"] for entry in trace["decisions"] if entry["module"] == "weightedrouter"] == [
            {"group": "any", "picked": f"up/{trace['model']}"}
        ]


async def test_the_targets_of_a_route_are_spread_by_their_weights():
    async with running({"weightedrouter": True}) as s:
        targets = [{"target": "up/small", "weight": 4}, {"target": "up/large", "weight": 1}]
        made = await s.http(s.admin_key).post("/api/proxy/routes", json={"pattern": "any", "targets": targets})
        assert made.json()["warnings"] == []
        for _ in range(10):
            await s.chat(model="any")
        assert models_asked(s) == {"small": 8, "large": 2}


async def test_the_others_are_left_for_fallbackrouter():
    modules = {"weightedrouter": group(("up/small", 9), ("up/large", 1)), "fallbackrouter": True, "retry": False}
    async with running(modules) as s:
        s.mock.script(status(503))
        assert (await s.chat(model="any")).headers["x-stockyard-model"] == "large"


async def test_when_every_weight_is_zero_there_is_no_provider():
    async with running({"weightedrouter": group(("up/small", 0))}) as s:
        refused = await s.chat(model="any")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_provider")
        assert refused.headers["x-stockyard-module"] == "weightedrouter"


async def test_explaining_a_call_takes_no_turn():
    async with running({"weightedrouter": group(("up/small", 1), ("up/large", 1))}) as s:
        http = s.http(s.admin_key)
        for _ in range(3):
            found = (await http.post("/api/proxy/explain", json={"body": s.body(model="any")})).json()
            assert found["targets"][0]["target"] == "up/small"
        assert (await s.chat(model="any")).headers["x-stockyard-model"] == "small"


@pytest.mark.parametrize("targets", [[{"target": "small", "weight": 1}], [{"target": "up/small", "weight": -1}], []])
async def test_bad_groups_are_refused_when_they_are_saved(targets):
    async with running() as s:
        config = {"config": {"groups": [{"model": "any", "targets": targets}]}}
        refused = await s.http(s.admin_key).put("/api/proxy/modules/weightedrouter", json=config)
        assert refused.status_code == 422


def picks(spread: Spread, count: int, now_ns: int, ramp_ns: int = 0) -> Counter[str]:
    return Counter(spread.order(["a", "b"], now_ns, ramp_ns)[0] for _ in range(count))


def test_turns_come_without_bursts():
    spread = Spread()
    spread.weigh({"a": 2, "b": 1}, 0, 0)
    assert [spread.order(["a", "b"], 0, 0)[0] for _ in range(6)] == ["a", "b", "a", "a", "b", "a"]


def test_a_change_of_weights_may_take_time():
    spread = Spread()
    spread.weigh({"a": 100, "b": 0}, 0, 1000)
    assert picks(spread, 100, 0, 1000) == {"a": 100}
    spread.weigh({"a": 0, "b": 100}, 10_000, 1000)
    assert picks(spread, 100, 10_250, 1000) == {"a": 75, "b": 25}
    assert picks(spread, 100, 10_750, 1000) == {"a": 25, "b": 75}
    assert picks(spread, 100, 11_000, 1000) == {"b": 100}


def in_turn(weights: dict[str, float], counters: dict[str, float], *, count: bool) -> list[str]:
    """Smooth weighted round-robin as nginx does it."""
    heavy = {label: weight for label, weight in weights.items() if weight > 0}
    if not heavy:
        return []
    after = {label: counters.get(label, 0.0) + weight for label, weight in heavy.items()}
    pick = max(after, key=after.__getitem__)
    if count:
        counters.update({**after, pick: after[pick] - sum(heavy.values())})
    return [pick, *sorted((label for label in heavy if label != pick), key=lambda label: -heavy[label])]


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 5).map(float), min_size=1),
    st.lists(st.tuples(st.booleans(), st.sets(st.sampled_from("abcd"))), min_size=1, max_size=40),
)
def test_every_turn_is_the_one_of_the_published_algorithm(
    weights: dict[str, float], turns: list[tuple[bool, set[str]]]
):
    spread = Spread()
    counters: dict[str, float] = {}
    for now_ns, (count, left_out) in enumerate(turns):
        spread.weigh(weights, now_ns, 0)
        labels = [label for label in weights if label not in left_out]
        order = spread.order(labels, now_ns, 0, count=count)
        assert order == in_turn({label: weights[label] for label in labels}, counters, count=count)
