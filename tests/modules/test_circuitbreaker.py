import asyncio
from time import monotonic
from typing import Any

import httpx2
import openai
import pytest

from instance.chute.failures import CallFailed
from instance.chute.modules.reliability.breaker import NS, Breaker, BreakerLimits
from instance.chute.modules.reliability.breakers import BREAKERS_MAX
from instance.chute.modules.reliability.circuitbreaker import CircuitBreaker
from instance.core.clock import FakeClock
from instance.core.errors import StockyardError
from tests.mock_replies import delay, drop, status, text
from tests.mock_upstream import until
from tests.modules.conftest import Running, running
from tests.modules.exchanges import Script, core, exchange, http_failure, target, whole
from tests.modules.upstreams import TurnedClock, two_upstreams

LIMITS = BreakerLimits(30, 10, 50.0, 5, 15.0, 60.0, 2)


def breaker() -> Breaker:
    return Breaker("up/small", LIMITS, 0)


def test_five_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    one = breaker()
    for _ in range(4):
        one.failed(0)
    one.succeeded(0)
    one.failed(0)
    assert one.wait_s(0) == 0
    for _ in range(4):
        one.failed(0)
    assert one.state == "open"
    assert one.wait_s(0) == 15.0


def test_half_of_enough_calls_open_it() -> None:
    one = breaker()
    for second in range(5):
        one.succeeded(second * NS)
        one.failed(second * NS)
    assert one.state == "open"


def test_what_lies_outside_the_window_is_forgotten() -> None:
    one = breaker()
    for _ in range(4):
        one.failed(0)
    one.succeeded(0)
    for _ in range(4):
        one.failed(31 * NS)
    one.succeeded(31 * NS)
    assert one.state == "closed"


def test_the_time_doubles_with_each_failed_probe_up_to_its_bound_and_begins_anew_after_closing() -> None:
    one, now = breaker(), 0
    for _ in range(5):
        one.failed(now)
    for wait_s in (15, 30, 60, 60):
        assert one.wait_s(now) == wait_s
        assert not one.admits(now + wait_s * NS - 1)
        now += wait_s * NS
        assert one.admits(now)
        assert one.state == "half_open"
        one.probe_failed(now)
    now += 60 * NS
    assert one.admits(now)
    one.probe_succeeded()
    one.probe_succeeded()
    assert one.state == "closed"
    for _ in range(5):
        one.failed(now)
    assert one.wait_s(now) == 15


async def module(clock: FakeClock | None = None, **settings: Any) -> CircuitBreaker:
    made = CircuitBreaker(CircuitBreaker.Settings(**settings))
    await made.start(core(clock or FakeClock()), None)
    return made


async def fail(made: CircuitBreaker, failure: Exception, times: int = 5) -> None:
    for _ in range(times):
        with pytest.raises(type(failure)):
            await made.around(exchange(), Script(failure))


@pytest.mark.parametrize("failure", [http_failure(429), http_failure(400), http_failure(401), http_failure(404)])
async def test_what_the_target_refuses_is_no_failure(failure: CallFailed) -> None:
    made = await module(spare_last=False)
    await fail(made, failure, 20)
    assert await made.around(exchange(), Script(whole()))


async def test_429s_count_when_asked_for() -> None:
    made = await module(spare_last=False, count_429=True)
    await fail(made, http_failure(429))
    with pytest.raises(StockyardError):
        await made.around(exchange(), Script(whole()))


async def test_the_callers_own_limit_is_not_the_targets_fault() -> None:
    made = await module(spare_last=False)
    await fail(made, CallFailed("timeout_total", target(), blames_target=False), 20)
    assert await made.around(exchange(), Script(whole()))


async def test_only_as_many_probes_at_a_time_as_set() -> None:
    clock = FakeClock()
    made = await module(clock, spare_last=False, probes=1)
    await fail(made, http_failure(500))
    clock.advance(15)

    async def nested(x: Any) -> Any:
        with pytest.raises(StockyardError) as caught:
            await made.around(exchange(), Script(whole()))
        assert caught.value.code == "breaker_open"
        return whole()

    assert await made.around(exchange(), nested)
    assert made.breakers.state(target()) == "closed"


async def test_a_probe_that_the_caller_gave_up_neither_closes_nor_opens_it() -> None:
    async def given_up(x: Any) -> Any:
        raise asyncio.CancelledError

    clock = FakeClock()
    made = await module(clock, spare_last=False, probes=1)
    await fail(made, http_failure(500))
    clock.advance(15)
    with pytest.raises(asyncio.CancelledError):
        await made.around(exchange(), given_up)
    assert made.breakers.state(target()) == "half_open"
    await made.around(exchange(), Script(whole()))
    assert made.breakers.state(target()) == "closed"


async def test_slow_answers_count_where_set() -> None:
    clock = FakeClock()
    made = await module(clock, spare_last=False, slow_s=1)

    async def slow(x: Any) -> Any:
        clock.advance(2)
        return whole()

    for _ in range(5):
        await made.around(exchange(), slow)
    assert made.breakers.state(target()) == "open"


async def test_names_that_nothing_answers_leave_nothing_behind_and_the_rest_is_bounded() -> None:
    made = await module()
    for number in range(100):
        x = exchange(model=f"made-up-{number}")
        with pytest.raises(CallFailed):
            await made.around(x, Script(http_failure(404)))
    assert not made.breakers.by_key
    for number in range(BREAKERS_MAX + 50):
        await made.around(exchange(model=f"m{number}"), Script(whole()))
    assert len(made.breakers.by_key) == BREAKERS_MAX


async def test_it_survives_a_change_of_settings() -> None:
    clock = FakeClock()
    made = await module(clock)
    await fail(made, http_failure(500))
    new = CircuitBreaker(CircuitBreaker.Settings(window_s=5, spare_last=False))
    await new.start(core(clock), made)
    with pytest.raises(StockyardError):
        await new.around(exchange(), Script(whole()))


PLAIN_AND_STREAMED = pytest.mark.parametrize("stream", [False, True])
NO_RETRY = {"retry": False, "circuitbreaker": {"spare_last": False}}


async def opened(s: Running, count: int = 5, **more: Any) -> TurnedClock:
    """Five failed calls, then time that the test turns on."""
    made, clock = s.module("circuitbreaker"), TurnedClock()
    made._mono_ns = clock.mono_ns
    s.mock.script(*[status(500)] * count)
    for _ in range(count):
        assert (await s.chat(**more)).status_code == 502
    return clock


@pytest.mark.parametrize("stream", [False, True])
async def test_after_five_failures_the_sixth_call_is_refused_without_a_word_to_the_provider(stream: bool) -> None:
    async with running(NO_RETRY) as s:
        clock = await opened(s, stream=stream)
        began = monotonic()
        refused = await s.chat(stream=stream)
        took = monotonic() - began
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (503, "breaker_open")
        assert refused.headers["x-stockyard-module"] == "circuitbreaker"
        assert 0 < int(refused.headers["retry-after"]) <= 15
        assert len(s.mock.calls) == 5
        assert took < 1.0
        assert await s.trail(refused.headers["x-stockyard-trace-id"], "circuitbreaker") == [
            ("breaker", {"target": "up/small", "state": "open"}),
            ("reject", {"code": "breaker_open"}),
        ]
        clock.advance(15.1)
        for _ in range(3):
            assert (await s.chat(stream=stream)).status_code == 200
        made = s.module("circuitbreaker")
        assert [row["state"] for row in made.breakers.changes] == ["open", "half_open", "closed"]
        assert s.instance.core.services["breakers"].of_provider("up") == "closed"


async def test_a_failed_probe_opens_it_again() -> None:
    async with running(NO_RETRY) as s:
        clock = await opened(s)
        clock.advance(15.1)
        s.mock.script(status(503))
        assert (await s.chat()).status_code == 502
        refused = await s.chat()
        assert refused.json()["error"]["code"] == "breaker_open"
        assert int(refused.headers["retry-after"]) > 15


async def test_the_only_target_is_never_cut_off_by_default() -> None:
    async with running({"retry": False}) as s:
        await opened(s, 7)
        assert s.instance.core.services["breakers"].of_provider("up") == "open"
        s.mock.script(text("there"))
        assert (await s.chat()).json()["choices"][0]["message"]["content"] == "there"


async def test_a_target_that_nothing_goes_on_from_is_not_cut_off_and_is_found_down() -> None:
    async with two_upstreams({"retry": False}) as (s, first, second):
        first.script(*[status(500)] * 20)
        codes = [(await s.chat()).status_code for _ in range(8)]
        assert codes == [502] * 6 + [200] * 2
        assert (len(first.calls), len(second.calls)) == (6, 2)


async def test_a_stream_that_dies_after_its_first_content_counts() -> None:
    async with running(NO_RETRY) as s:
        s.mock.script(*[drop(2, "one two three")] * 5)
        for _ in range(5):
            with pytest.raises(openai.APIError):
                stream = await s.sdk().chat.completions.create(
                    model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
                )
                async for _chunk in stream:
                    pass
        assert (await s.chat()).json()["error"]["code"] == "breaker_open"
        assert len(s.mock.calls) == 5


@PLAIN_AND_STREAMED
async def test_with_a_second_target_and_fallbackrouter_the_caller_sees_no_error(stream: bool) -> None:
    chain = {"match": "*", "targets": ["second/small"]}
    modules = {"circuitbreaker": True, "fallbackrouter": {"chains": [chain]}, "retry": False, "healthcheck": False}
    async with two_upstreams(modules) as (s, first, second):
        s.model = "up/small"
        first.script(*[status(500)] * 20)
        answers = [await s.chat(stream=stream) for _ in range(8)]
        assert {answer.status_code for answer in answers} == {200}
        assert (len(first.calls), len(second.calls)) == (5, 8)
        hops = await s.trail(answers[-1].headers["x-stockyard-trace-id"], "fallbackrouter")
        assert [(action, detail["reason"]) for action, detail in hops] == [("hop", "breaker_open")]


async def test_the_state_is_shown_where_providers_are() -> None:
    async with running(NO_RETRY) as s:
        await opened(s)
        admin = s.http(s.admin_key)
        rows = (await admin.get("/api/proxy/providers")).json()["providers"]
        assert next(row["circuit"] for row in rows if row["name"] == "up") == "open"
        health = (await admin.get("/api/status")).json()["health"]
        assert [(row["target"], row["state"]) for row in health["circuits"]] == [("up/small", "open")]
        assert [row["state"] for row in health["circuit_changes"]] == ["open"]
        shown = (await admin.get("/api/proxy/modules/circuitbreaker")).json()
        assert shown["report"]["circuits"][0]["target"] == "up/small"


@PLAIN_AND_STREAMED
async def test_callers_who_hang_up_open_no_breaker(stream: bool) -> None:
    async with running({"retry": False, "circuitbreaker": {"spare_last": False, "consecutive": 2}}) as s:
        for number in range(3):
            s.mock.script(delay(30))
            client = s.http()
            with pytest.raises(httpx2.TimeoutException):
                await client.post("/v1/chat/completions", json=s.body(stream=stream), timeout=0.3)
            await until(lambda number=number: s.mock.calls[number].hung_up)  # type: ignore[misc]
        assert s.instance.core.services["breakers"].of_provider("up") == "closed"
        assert (await s.chat(stream=stream)).status_code == 200
