from typing import Any

import pytest

from instance.chute.modules.reliability.health_table import SUBJECTS_MAX, HealthTable
from instance.core.clock import FakeClock
from tests.mock_replies import drop, status, text
from tests.mock_upstream import MockUpstream, until
from tests.modules.conftest import Running
from tests.modules.upstreams import TurnedClock, two_upstreams


def table() -> HealthTable:
    return HealthTable(FakeClock())


def test_suspect_then_down_then_healthy_again() -> None:
    made, states = table(), []
    made.on_change = lambda subject, state, reason: states.append(state)
    for _ in range(6):
        made.failed("up/small", "500", 3)
    made.passed("up/small", 2)
    assert made.of_provider("up") == "down"
    made.passed("up/small", 2)
    assert made.of_provider("up") == "healthy"
    assert states == ["suspect", "down", "healthy"]
    assert not made.conditions


def test_failures_that_are_not_in_a_row_make_nobody_suspect() -> None:
    made = table()
    for _ in range(5):
        made.failed("up/small", "500", 2)
        made.passed("up/small", 1)
    assert not made.changes


def test_what_is_known_is_bounded_and_those_that_are_down_stay() -> None:
    made = table()
    for _ in range(2):
        made.failed("up/down", "500", 1)
    for number in range(SUBJECTS_MAX + 10):
        made.failed(f"up/{number}", "500", 3)
    assert "up/down" in made.out
    assert len(made.conditions) == SUBJECTS_MAX


PASSIVE: dict[str, Any] = {"retry": False, "circuitbreaker": False, "healthcheck": {"fail_after": 1}}


async def taken_down(s: Running, first: MockUpstream, reply: Any, *, stream: bool) -> TurnedClock:
    made, clock = s.module("healthcheck"), TurnedClock()
    made._clock = made.table._clock = clock
    first.script(reply, reply)
    for _ in range(2):
        await s.chat(stream=stream)
    return clock


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reply", [status(503), drop(0)])
async def test_a_target_that_failed_often_is_left_out_and_asked_again_later(stream: bool, reply: Any) -> None:
    async with two_upstreams(PASSIVE) as (s, first, second):
        clock = await taken_down(s, first, reply, stream=stream)
        assert (len(first.calls), len(second.calls)) == (2, 0)
        answer = await s.chat(stream=stream)
        assert answer.status_code == 200
        assert (len(first.calls), len(second.calls)) == (2, 1)
        assert await s.trail(answer.headers["x-stockyard-trace-id"], "healthcheck") == [
            ("health", {"dropped": ["up/small"]})
        ]
        clock.advance(20.1)
        for _ in range(3):
            await s.chat(stream=stream)
        assert (len(first.calls), len(second.calls)) == (5, 1)
        assert [row["state"] for row in s.module("healthcheck").table.changes] == ["suspect", "down", "healthy"]


async def test_the_last_target_stays_and_is_flagged() -> None:
    async with two_upstreams(PASSIVE) as (s, first, _):
        s.model = "up/small"
        await taken_down(s, first, status(500), stream=False)
        first.script(text("alive"))
        answer = await s.chat()
        assert answer.json()["choices"][0]["message"]["content"] == "alive"
        assert await s.trail(answer.headers["x-stockyard-trace-id"], "healthcheck") == [
            ("health", {"dropped": [], "down": ["up/small"]})
        ]


async def test_a_stream_that_breaks_off_counts_as_one_failure() -> None:
    async with two_upstreams(PASSIVE) as (s, first, second):
        await taken_down(s, first, drop(2, "one two three"), stream=True)
        await s.chat(stream=True)
        assert len(second.calls) == 1


@pytest.mark.parametrize("reply", [status(400), status(404), status(429)])
async def test_what_a_target_refuses_does_not_make_it_ill(reply: Any) -> None:
    async with two_upstreams(PASSIVE) as (s, first, second):
        first.script(*[reply] * 5)
        for _ in range(6):
            await s.chat()
        assert (len(first.calls), len(second.calls)) == (6, 0)


async def test_a_stopped_upstream_is_found_down_and_a_started_one_found_again() -> None:
    probing = {"active": True, "interval_s": 0.1, "probe_timeout_s": 1.0}
    async with two_upstreams({"healthcheck": probing, "circuitbreaker": False}) as (s, first, second):
        port = first.port

        async def status_of_up() -> Any:
            rows = (await s.http(s.admin_key).get("/api/proxy/providers")).json()["providers"]
            return next(row["status"] for row in rows if row["name"] == "up")

        assert (await s.chat()).headers["x-stockyard-provider"] == "up"
        await first.stop()
        await until(lambda: s.module("healthcheck").table.of_provider("up") == "down")
        assert await status_of_up() == "down"
        health = (await s.http(s.admin_key).get("/api/status")).json()["health"]
        assert [row["target"] for row in health["not_healthy"]] == ["up"]
        assert [row["state"] for row in health["changes"]] == ["suspect", "down"]
        one = (await s.http(s.admin_key).get("/api/proxy/providers/up")).json()
        assert [row["state"] for row in one["health"]["changes"]] == ["suspect", "down"]
        before = len(second.calls)
        answer = await s.chat()
        assert answer.headers["x-stockyard-provider"] == "second"
        assert "x-stockyard-attempts" not in answer.headers
        assert len([call for call in list(second.calls)[before:] if call.method == "POST"]) == 1
        await first.start(port)
        await until(lambda: s.module("healthcheck").table.of_provider("up") == "healthy")
        assert await status_of_up() == "active"
        assert (await s.chat()).headers["x-stockyard-provider"] == "up"


async def test_a_refused_key_is_said_in_words() -> None:
    probing = {"active": True, "interval_s": 30.0}
    async with two_upstreams() as (s, first, _):
        first.script(status(401, "Incorrect API key"))
        await s.configure({"healthcheck": probing})
        await until(lambda: s.module("healthcheck").table.of_provider("up") == "bad_key")
        rows = (await s.http(s.admin_key).get("/api/proxy/providers")).json()["providers"]
        row = next(row for row in rows if row["name"] == "up")
        assert row["status"] == "bad_key"
        assert "401" in row["last_error"]
        assert (await s.chat()).headers["x-stockyard-provider"] == "second"


async def test_a_chat_probe_asks_for_one_token() -> None:
    async with two_upstreams({"healthcheck": {"active": True, "probe": "chat", "interval_s": 60.0}}) as (
        _,
        first,
        second,
    ):
        await until(lambda: len(first.calls) == 1 and len(second.calls) == 1)
        assert first.calls[0].json()["max_tokens"] == 1
        assert first.calls[0].json()["model"] == "small"


async def test_what_probes_found_of_a_provider_is_forgotten_when_nobody_probes_any_more() -> None:
    async with two_upstreams() as (s, first, _):
        first.script(status(401, "Incorrect API key"))
        await s.configure({"healthcheck": {"active": True, "interval_s": 30.0}})
        await until(lambda: s.module("healthcheck").table.of_provider("up") == "bad_key")
        assert (await s.chat()).headers["x-stockyard-provider"] == "second"
        await s.configure({"healthcheck": {"active": False}})
        assert (await s.chat()).headers["x-stockyard-provider"] == "up"
        rows = (await s.http(s.admin_key).get("/api/proxy/providers")).json()["providers"]
        assert next(row for row in rows if row["name"] == "up")["status"] == "active"
