"""rateshield's limits, on a clock that the tests move."""

import asyncio
from typing import Any

import pytest

from instance.chute.exchange import Exchange
from instance.chute.modules.cost.rate_limits import Arrivals, openai_duration
from instance.chute.modules.cost.rateshield import RateShield
from instance.core.clock import FakeClock
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from tests.modules.exchanges import Script, core, exchange, trail, whole

NS = 10**9


async def shield(clock: FakeClock, **settings: Any) -> RateShield:
    module = RateShield(RateShield.Settings.model_validate(settings))
    await module.start(core(clock), None)
    return module


def call(key: int = 1, **more: Any) -> Exchange:
    x = exchange(**more)
    x.principal = Principal(key, "proxy", ("proxy:call",), name=f"key-{key}")
    x.current_module = "rateshield"
    return x


def admitted(module: RateShield, *calls: Exchange) -> list[bool]:
    out = []
    for x in calls:
        try:
            module.on_request(x)
            out.append(True)
        except StockyardError as error:
            assert int(error.headers["Retry-After"]) >= 1
            out.append(False)
    return out


MINUTE = {"limits": [{"by": "key", "requests": 60, "per": "minute", "burst": 10}]}


async def test_a_burst_passes_and_the_rest_is_told_when_to_come_back() -> None:
    clock = FakeClock()
    module = await shield(clock, **MINUTE)
    assert admitted(module, *[call() for _ in range(30)]) == [True] * 10 + [False] * 20
    clock.advance(1)
    assert admitted(module, call(), call()) == [True, False]
    clock.advance(3600)
    assert admitted(module, *[call() for _ in range(11)]) == [True] * 10 + [False]


async def test_one_limit_alone_is_counted_as_it_is_beside_others() -> None:
    clock = FakeClock()
    alone, beside = await shield(clock, **MINUTE), await shield(clock, **MINUTE, exempt=["nobody"])
    for wait_s in (0, 0, 0.3, 0, 20, 0, *(0 for _ in range(12)), 1.5, 0):
        clock.advance(wait_s)
        one, other = call(), call()
        assert admitted(alone, one) == admitted(beside, other)
        assert one.response_headers == other.response_headers
    dry = call()
    dry.dry = True
    clock.advance(3600)
    assert admitted(alone, dry, *[call() for _ in range(11)]) == [True] * 11 + [False], "who only asks is not counted"


async def test_two_keys_do_not_affect_each_other() -> None:
    module = await shield(FakeClock(), limits=[{"by": "key", "requests": 1, "per": "hour"}])
    assert admitted(module, call(1), call(1), call(2), call(2)) == [True, False, True, False]


async def test_the_refusal_has_code_headers_and_a_trail() -> None:
    module = await shield(FakeClock(), limits=[{"by": "key", "requests": 2, "per": "minute", "burst": 1}])
    admitted(module, call())
    x = call()
    with pytest.raises(StockyardError) as caught:
        module.on_request(x)
    assert (caught.value.code, caught.value.status, caught.value.headers) == (
        "rate_limited",
        429,
        {"Retry-After": "30"},
    )
    assert trail(x, "rateshield")[0][0] == "limited"
    assert (b"x-ratelimit-remaining-requests", b"0") in x.response_headers


async def test_good_answers_say_what_is_left_as_openai_writes_it() -> None:
    module = await shield(FakeClock(), **MINUTE)
    x = call()
    module.on_request(x)
    assert dict(x.response_headers) == {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"9",
        b"x-ratelimit-reset-requests": b"1s",
    }
    assert [openai_duration(ns) for ns in (0, 17_000_000, NS, 360 * NS, 3_723 * NS)] == [
        "0ms",
        "17ms",
        "1s",
        "6m0s",
        "1h2m3s",
    ]


async def test_a_refused_call_is_charged_to_no_limit() -> None:
    limits = [{"by": "key", "requests": 1, "per": "hour"}, {"by": "global", "requests": 2, "per": "hour"}]
    module = await shield(FakeClock(), limits=limits)
    assert admitted(module, call(1), call(1), call(1), call(2), call(3)) == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("by", "same", "other"),
    [
        ("user", {"user": "a"}, {"user": "b"}),
        ("team", {"team": "a"}, {"team": "b"}),
        ("address", {"client_ip": "10.0.0.1"}, {"client_ip": "10.0.0.2"}),
        ("model", {"model": "a"}, {"model": "b"}),
        ("client", {"client": "a"}, {"client": "b"}),
    ],
)
async def test_a_limit_counts_by_its_subject(by: str, same: dict[str, Any], other: dict[str, Any]) -> None:
    module = await shield(FakeClock(), limits=[{"by": by, "requests": 1, "per": "hour"}])
    assert admitted(module, call(1, **same), call(2, **same), call(3, **other)) == [True, False, True]


async def test_who_has_no_such_subject_is_not_limited_by_it_nor_who_does_not_match() -> None:
    limits = [
        {"by": "team", "requests": 1, "per": "hour"},
        {"by": "model", "match": "gpt-4*", "requests": 1, "per": "hour"},
    ]
    module = await shield(FakeClock(), limits=limits)
    assert admitted(module, *[call(model="other") for _ in range(3)]) == [True] * 3
    assert admitted(module, call(model="gpt-4o"), call(model="gpt-4o")) == [True, False]


async def test_exempt_keys_pass_by_id_or_name() -> None:
    module = await shield(FakeClock(), limits=[{"by": "global", "requests": 1, "per": "hour"}], exempt=["2", "key-3"])
    assert admitted(module, call(1), call(1), call(2), call(2), call(3)) == [True, False, True, True, True]


async def test_output_tokens_are_a_debt_that_delays_the_next_request() -> None:
    clock = FakeClock()
    module = await shield(clock, limits=[{"by": "key", "tokens": 600, "per": "minute", "burst": 100}])
    x = call()
    assert admitted(module, x) == [True]
    x.usage.take({"prompt_tokens": 8, "completion_tokens": 292})
    module.on_finish(x)
    assert admitted(module, call()) == [False]
    clock.advance(15)
    assert admitted(module, call()) == [False]
    clock.advance(8)
    assert admitted(module, call()) == [True]


async def test_a_prompt_larger_than_the_burst_passes_alone() -> None:
    module = await shield(FakeClock(), limits=[{"by": "key", "tokens": 60, "per": "minute", "burst": 10}])
    x = call()
    x.req = {"messages": [{"role": "user", "content": "word " * 1000}]}
    assert admitted(module, x, call()) == [True, False]


async def test_calls_at_once_are_limited_until_one_ends() -> None:
    module = await shield(FakeClock(), limits=[], concurrency=[{"by": "key", "max": 2}])
    first, second, third = call(), call(), call()
    assert admitted(module, first, second) == [True, True]
    with pytest.raises(StockyardError) as caught:
        module.on_request(third)
    assert caught.value.code == "too_many_concurrent"
    module.on_finish(third)
    module.on_finish(first)
    assert admitted(module, call(), call()) == [True, False]


async def through(module: RateShield, x: Exchange) -> Exchange:
    """The call from its admission to its end, as the chain runs it."""
    try:
        module.on_request(x)
        await module.around(x, Script(whole()))
    finally:
        module.on_finish(x)
    return x


async def until(met: Any) -> None:
    for _ in range(1000):
        if met():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition was not met")


async def test_with_a_queue_all_pass_in_their_turn() -> None:
    clock = FakeClock()
    module = await shield(clock, **MINUTE, queue_s=30)
    calls = [call() for _ in range(30)]
    tasks = [asyncio.create_task(through(module, x)) for x in calls]
    await until(lambda: sum(task.done() for task in tasks) == 10)
    for passed in range(11, 31):
        clock.advance(1)
        await until(lambda passed=passed: sum(task.done() for task in tasks) == passed)
    await asyncio.gather(*tasks)
    assert calls[-1].waited_ns == 20 * NS
    assert trail(calls[-1], "rateshield") == [("queued", {"ms": 20_000})]
    assert trail(calls[0], "rateshield") == []


async def test_who_would_wait_longer_than_the_queue_allows_is_refused_at_once() -> None:
    module = await shield(FakeClock(), limits=[{"by": "key", "requests": 60, "per": "minute", "burst": 1}], queue_s=2)
    assert admitted(module, *[call() for _ in range(5)]) == [True, True, True, False, False]


async def test_a_slot_goes_to_who_waits_longest_and_who_waits_too_long_is_refused() -> None:
    clock = FakeClock()
    module = await shield(clock, limits=[], concurrency=[{"by": "key", "max": 1}], queue_s=5)
    running = call()
    module.on_request(running)
    order: list[int] = []

    async def waiting(number: int) -> None:
        await through(module, call())
        order.append(number)

    tasks = [asyncio.create_task(waiting(number)) for number in range(3)]
    await until(lambda: len(module._slots[0][1]._waiting.get("1", ())) == 3)
    tasks[1].cancel()
    await until(lambda: tasks[1].done())
    module.on_finish(running)
    await asyncio.gather(tasks[0], tasks[2])
    assert order == [0, 2]
    running = call()
    module.on_request(running)
    late = asyncio.create_task(through(module, call()))
    await until(lambda: any(not entry[-1].done() for entry in clock._sleepers))
    clock.advance(6)
    with pytest.raises(StockyardError) as caught:
        await late
    assert caught.value.code == "too_many_concurrent"
    module.on_finish(running)
    assert module._slots[0][1].free("1")


async def test_the_same_request_again_and_again_is_refused() -> None:
    clock = FakeClock()
    module = await shield(clock, limits=[], dup_max=2, dup_window_s=10)
    same = [call(raw=b"same") for _ in range(3)]
    assert admitted(module, *same, call(raw=b"else"), call(2, raw=b"same")) == [True, True, False, True, True]
    clock.advance(11)
    assert admitted(module, call(raw=b"same")) == [True]


async def test_counters_survive_a_change_of_settings() -> None:
    clock = FakeClock()
    module = await shield(clock, **MINUTE)
    admitted(module, *[call() for _ in range(10)])
    newer = RateShield(RateShield.Settings.model_validate({**MINUTE, "dup_max": 5}))
    await newer.start(core(clock), module)
    assert admitted(newer, call()) == [False]


async def test_two_limits_of_the_same_keys_stay_apart_after_a_change_of_settings() -> None:
    clock = FakeClock()
    second = {"by": "key", "requests": 20, "per": "second"}
    minute = {"by": "key", "requests": 100, "per": "minute"}
    module = await shield(clock, limits=[second, minute])
    assert admitted(module, *[call() for _ in range(20)]) == [True] * 20
    newer = RateShield(RateShield.Settings.model_validate({"limits": [minute, second], "exempt": ["other"]}))
    await newer.start(core(clock), module)
    assert admitted(newer, call()) == [False], "the second is used up"
    clock.advance(1)
    assert admitted(newer, *[call() for _ in range(10)]) == [True] * 10
    hourly = RateShield(RateShield.Settings.model_validate({"limits": [{**minute, "per": "hour", "requests": 30}]}))
    await hourly.start(core(clock), newer)
    assert admitted(hourly, *[call() for _ in range(31)]) == [True] * 29 + [False] * 2, "what came goes on counting"


async def test_calls_that_run_and_repeats_are_counted_on_after_a_change_of_settings() -> None:
    clock = FakeClock()
    module = await shield(clock, limits=[], concurrency=[{"by": "key", "max": 1}], dup_max=2)
    running = call(raw=b"same")
    assert admitted(module, running) == [True]
    changed = {"limits": [], "concurrency": [{"by": "key", "max": 2}], "dup_max": 3}
    newer = RateShield(RateShield.Settings.model_validate(changed))
    await newer.start(core(clock), module)
    second = call(raw=b"same")
    assert admitted(newer, second, call(raw=b"else")) == [True, False], "two at once, the older of them running still"
    module.on_finish(running)
    newer.on_finish(second)
    assert newer._slots[0][1]._running == {}
    assert admitted(newer, call(raw=b"same"), call(raw=b"same")) == [True, False], "four times within the window"


def test_the_state_of_a_limit_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instance.chute.modules.cost.rate_limits.SUBJECTS_MAX", 10)
    arrivals = Arrivals(1, NS, 1)
    for number in range(100):
        arrivals.charge(str(number), 1, 0)
    assert len(arrivals.handed_over()) == 10


def test_a_limit_above_a_unit_a_nanosecond_lets_calls_through() -> None:
    arrivals = Arrivals(10**12, 60 * NS, 10**12)
    arrivals.charge("a", 1000, 0)
    assert arrivals.wait_ns("a", 1000, 0) == 0
    assert arrivals.state("a", 0)[0] > 0


@pytest.mark.parametrize(
    "limit",
    [
        {"by": "key", "per": "minute"},
        {"by": "key", "requests": 1, "tokens": 1, "per": "minute"},
        {"by": "shoe", "requests": 1, "per": "minute"},
        {"by": "key", "requests": 0, "per": "minute"},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        RateShield.Settings.model_validate({"limits": [limit]})
