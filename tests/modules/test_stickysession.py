"""stickysession over HTTP: a session stays at its target, over failures and restarts."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from tests.mock_replies import status
from tests.modules.conftest import Running, running
from tests.modules.restarts import restarting
from tests.modules.upstreams import TurnedClock

SPREAD = {
    "groups": [{"model": "any", "targets": [{"target": "up/small", "weight": 1}, {"target": "up/large", "weight": 1}]}]
}
MODULES: dict[str, Any] = {"weightedrouter": SPREAD, "stickysession": True, "retry": False}


async def served(s: Running, headers: Mapping[str, str] | None = None, **more: Any) -> str:
    answer = await s.chat(model="any", headers=headers, **more)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-stockyard-model"]


async def test_ten_calls_of_one_session_reach_one_target_and_of_ten_sessions_both():
    async with running(MODULES) as s:
        assert len({await served(s, {"X-Stockyard-Session": "one"}) for _ in range(10)}) == 1
        spread = Counter([await served(s, {"X-Stockyard-Session": f"s{number}"}) for number in range(10)])
        assert set(spread) == {"small", "large"}


async def test_streams_of_one_session_reach_one_target():
    async with running(MODULES) as s:
        models = set()
        for _ in range(6):
            stream = await s.sdk(default_headers={"X-Stockyard-Session": "one"}).chat.completions.create(
                **s.body(model="any"), stream=True
            )
            models |= {chunk.model async for chunk in stream if chunk.choices}
            await s.settled()
        assert len(models) == 1


async def test_a_session_moves_once_when_its_target_fails_and_stays_there():
    async with running({**MODULES, "fallbackrouter": True}) as s:
        headers = {"X-Stockyard-Session": "one"}
        first = await served(s, headers)
        s.mock.script(status(503))
        second = await served(s, headers)
        assert second != first
        assert {await served(s, headers) for _ in range(5)} == {second}
        traces = await s.recent_traces(7)
        states = [
            entry["detail"]["state"]
            for trace in reversed(traces)
            for entry in trace["decisions"]
            if entry["module"] == "stickysession"
        ]
        assert states == ["new", "moved", *["kept"] * 5]
        assert {trace["session_id"] for trace in traces} == {"one"}


@pytest.mark.parametrize("more", [{"metadata": {"session_id": "m"}}, {"user": "u"}])
async def test_the_session_may_stand_in_the_body(more):
    async with running(MODULES) as s:
        assert len({await served(s, **more) for _ in range(6)}) == 1


async def test_a_growing_conversation_is_one_session_without_an_id():
    async with running(MODULES) as s:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "first"}]
        models = set()
        for number in range(5):
            models.add((await s.chat(model="any", messages=messages)).headers["x-stockyard-model"])
            messages += [{"role": "assistant", "content": "ok"}, {"role": "user", "content": f"more {number}"}]
        assert len(models) == 1
        await s.configure({"stickysession": {"derive": False}})
        assert {(await s.chat(model="any", messages=messages)).headers["x-stockyard-model"] for _ in range(4)} == {
            "small",
            "large",
        }


async def test_a_drained_target_keeps_its_sessions_and_gets_no_new_ones():
    async with running(MODULES) as s:
        sessions = {f"s{number}": await served(s, {"X-Stockyard-Session": f"s{number}"}) for number in range(4)}
        drained = {
            "groups": [{"model": "any", "targets": [{"target": "up/small"}, {"target": "up/large", "weight": 0}]}]
        }
        await s.configure({"weightedrouter": drained})
        for session, model in sessions.items():
            assert await served(s, {"X-Stockyard-Session": session}) == model
        assert {await served(s, {"X-Stockyard-Session": f"new{number}"}) for number in range(4)} == {"small"}


async def test_the_least_recently_used_session_is_forgotten():
    async with running({**MODULES, "stickysession": {"max_sessions": 2}}) as s:
        for number in range(5):
            await served(s, {"X-Stockyard-Session": f"s{number}"})
        assert s.module("stickysession").report() == {"sessions": 2}


async def test_a_session_that_was_not_heard_of_for_long_is_placed_anew():
    async with running({**MODULES, "stickysession": {"ttl_s": 60}}) as s:
        clock = s.module("stickysession")._clock = TurnedClock()
        session = {"X-Stockyard-Session": "one"}
        for later in (0, 50, 50):
            clock.advance(later)
            answer = await s.chat(model="any", headers=session)
        states = [
            detail["state"] for _, detail in await s.trail(answer.headers["x-stockyard-trace-id"], "stickysession")
        ]
        assert states == ["kept"], "each use begins the time anew"
        clock.advance(61)
        answer = await s.chat(model="any", headers=session)
        states = [
            detail["state"] for _, detail in await s.trail(answer.headers["x-stockyard-trace-id"], "stickysession")
        ]
        assert states == ["new"]


async def test_only_routes_that_are_sticky_may_be_pinned():
    async with running({**MODULES, "stickysession": {"only_routes": True}}) as s:
        assert {await served(s, {"X-Stockyard-Session": "one"}) for _ in range(4)} == {"small", "large"}
        targets = [{"target": "up/small"}, {"target": "up/large"}]
        await s.http(s.admin_key).post("/api/proxy/routes", json={"pattern": "st", "targets": targets, "sticky": True})
        answers = [await s.chat(model="st", headers={"X-Stockyard-Session": "one"}) for _ in range(4)]
        assert len({answer.headers["x-stockyard-model"] for answer in answers}) == 1


async def test_a_pin_survives_a_restart():
    async def served_in(http: httpx2.AsyncClient, session: str) -> str:
        body = {"model": "any", "messages": [{"role": "user", "content": "hi"}]}
        answer = await http.post("/v1/chat/completions", json=body, headers={"X-Stockyard-Session": session})
        return str(answer.headers["x-stockyard-model"])

    async with restarting() as starts:
        async with starts.started({"weightedrouter": SPREAD, "stickysession": {}}) as http:
            before = {session: await served_in(http, session) for session in ("a", "b", "c")}
        async with starts.started() as http:
            assert {session: await served_in(http, session) for session in ("c", "a", "b")} == before


async def test_a_session_may_stay_with_the_providers_key_too():
    keys = [{"name": name, "provider": "up", "key": f"key-of-{name}-1234"} for name in ("first", "second", "third")]
    modules = {"keypool": {"keys": keys, "strategy": "round_robin"}, "stickysession": {"pin_key": True}}
    async with running(modules) as s:
        for _ in range(5):
            await s.chat(headers={"X-Stockyard-Session": "one"})
        assert len({call.key for call in s.mock.calls}) == 1
        await s.configure({"stickysession": {"pin_key": False}})
        s.mock.calls.clear()
        for _ in range(6):
            await s.chat(headers={"X-Stockyard-Session": "one"})
        assert len({call.key for call in s.mock.calls}) > 1
