import asyncio
from collections import Counter
from typing import Any

import pytest

from instance.chute.modules.reliability.loadbalancer import LoadBalancer
from instance.chute.modules.reliability.target_load import TARGETS_MAX, Loads, TargetLoad
from instance.core.clock import FakeClock
from instance.core.errors import StockyardError
from tests.mock_replies import Reply, chunks, status, text
from tests.mock_upstream import until
from tests.modules.exchanges import core, exchange, target
from tests.modules.upstreams import two_upstreams

NS = 1_000_000_000


def test_latency_rises_at_once_and_falls_with_its_half_life() -> None:
    load = TargetLoad()
    load.in_flight = 1
    load.measured(0.1, 0, 10)
    load.measured(0.9, 0, 10)
    assert load.latency_s(0, 10) == 0.9
    load.measured(0.1, 10 * NS, 10)
    assert load.latency_s(10 * NS, 10) == pytest.approx(0.5)


def test_a_failure_makes_slower_and_fades_when_nothing_runs() -> None:
    load = TargetLoad()
    load.failed(2.0, 0, 10)
    assert load.latency_s(0, 10) == 2.0
    assert load.latency_s(20 * NS, 10) == pytest.approx(0.5)


def test_a_new_target_stands_at_the_median_of_the_others() -> None:
    loads = Loads(FakeClock())
    rows = [TargetLoad() for _ in range(4)]
    for row, seconds in zip(rows, (0.1, 0.3, 0.9), strict=False):
        row.in_flight = 1
        row.measured(seconds, NS, 10)
    assert loads.latencies(rows)[3] == 0.3


def test_what_is_known_is_bounded() -> None:
    loads = Loads(FakeClock())
    for number in range(TARGETS_MAX + 100):
        loads.of(f"up/{number}")
    assert len(loads.rows()) == TARGETS_MAX


async def balancer(randoms: list[float] | None = None, **settings: Any) -> LoadBalancer:
    values = iter(randoms or [])
    made = LoadBalancer(LoadBalancer.Settings(**settings), random=lambda: next(values, 0.0))
    await made.start(core(FakeClock()), None)
    return made


def three(made: LoadBalancer, *latencies: float) -> Any:
    x = exchange(model="m", targets=[target("a/m"), target("b/m"), target("c/m"), target("d/other")])
    for one, seconds in zip(x.targets, latencies, strict=False):
        load = made.loads.of(one.label)
        load.in_flight = 1
        load.measured(seconds, NS, 10)
    return x


async def picked(made: LoadBalancer, x: Any) -> str:
    made.on_request(x)
    return str(x.targets[0].label)


async def test_each_strategy_takes_its_own_measure() -> None:
    made = await balancer(strategy="least_latency", explore_pct=0)
    assert await picked(made, three(made, 0.3, 0.1, 0.2)) == "b/m"
    made = await balancer(strategy="least_inflight")
    x = three(made, 0.1, 0.1, 0.1)
    made.loads.of("a/m").in_flight = made.loads.of("b/m").in_flight = 5
    assert await picked(made, x) == "c/m"
    made = await balancer(strategy="most_quota")
    x = three(made, 0.1, 0.1, 0.1)
    made.loads.take_headers("a/m", {b"x-ratelimit-remaining-requests": b"1", b"x-ratelimit-limit-requests": b"10"})
    made.loads.take_headers("b/m", {b"x-ratelimit-remaining-requests": b"9", b"x-ratelimit-limit-requests": b"10"})
    made.loads.take_headers("c/m", {b"x-ratelimit-remaining-requests": b"2", b"x-ratelimit-limit-requests": b"10"})
    assert await picked(made, x) == "b/m"
    made = await balancer(strategy="round_robin")
    assert [await picked(made, three(made)) for _ in range(4)] == ["a/m", "b/m", "c/m", "a/m"]
    made = await balancer([0.0, 0.0], strategy="p2c")
    assert await picked(made, three(made, 0.9, 0.1, 0.2)) == "b/m"
    made = await balancer([0.0, 0.99], strategy="least_latency", explore_pct=50)
    assert await picked(made, three(made, 0.1, 0.2, 0.3)) == "c/m"


async def test_targets_of_another_model_stay_behind_and_weighted_groups_as_they_are() -> None:
    made = await balancer(strategy="least_latency", explore_pct=0)
    x = three(made, 0.3, 0.1, 0.2)
    made.on_request(x)
    assert [one.label for one in x.targets] == ["b/m", "a/m", "c/m", "d/other"]
    x = three(made, 0.3, 0.1, 0.2)
    x.state["weighted"] = True
    assert await picked(made, x) == "a/m"


async def test_nothing_permitted_is_a_503() -> None:
    made = await balancer()
    x = three(made)
    x.allow.append(lambda one: False)
    with pytest.raises(StockyardError) as caught:
        made.on_request(x)
    assert (caught.value.code, caught.value.status) == ("no_provider", 503)


def delayed(seconds: float, stream: bool) -> Reply:
    return Reply(text="hello", delay_s=seconds)


async def calls(s: Any, count: int, at_once: int, stream: bool) -> list[str]:
    served: list[str] = []
    gate = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with gate:
            answer = await s.chat(stream=stream)
            assert answer.status_code == 200
            served.append(answer.headers["x-stockyard-provider"])

    await asyncio.gather(*(one() for _ in range(count)))
    return served


@pytest.mark.parametrize("stream", [False, True])
async def test_most_calls_reach_the_fast_one_and_follow_when_the_two_change_places(stream: bool) -> None:
    async with two_upstreams({"loadbalancer": True}) as (s, first, second):
        first.script(*[delayed(0.02, stream)] * 200)
        second.script(*[delayed(0.4, stream)] * 200)
        assert Counter(await calls(s, 100, 10, stream))["up"] >= 80
        for mock, seconds in ((first, 0.4), (second, 0.02)):
            mock._replies.clear()
            mock.script(*[delayed(seconds, stream)] * 200)
        await calls(s, 30, 10, stream)
        assert Counter(await calls(s, 30, 10, stream))["second"] > 15
        rows = s.instance.core.services["load"].rows()
        assert all(row["in_flight"] == 0 for row in rows)


async def test_a_stream_is_in_flight_until_its_end() -> None:
    async with two_upstreams({"loadbalancer": True}) as (s, first, second):
        for mock in (first, second):
            mock.script(chunks(["one", "two"], piece_delay_s=0.2))
        task = asyncio.create_task(s.chat(stream=True))
        load = s.instance.core.services["load"]
        await until(lambda: sum(row["in_flight"] for row in load.rows()) == 1)
        await until(lambda: any(row["latency_ms"] for row in load.rows()))
        assert sum(row["in_flight"] for row in load.rows()) == 1
        assert (await task).status_code == 200
        await until(lambda: sum(row["in_flight"] for row in load.rows()) == 0)


async def test_a_failing_target_is_avoided() -> None:
    async with two_upstreams({"loadbalancer": True, "retry": False, "healthcheck": False}) as (s, first, second):
        first.script(*[status(500)] * 50)
        second.script(*[text("ok")] * 50)
        answers = [(await s.chat()).status_code for _ in range(20)]
        assert answers.count(502) <= 1, "a target that was not tried yet stands before one that fails"
        trace = await s.chat()
        entries = await s.trail(trace.headers["x-stockyard-trace-id"], "loadbalancer")
        assert entries[0][0] == "lb"
        assert entries[0][1]["picked"] == "second/small"
