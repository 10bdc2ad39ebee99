"""fallbackrouter over HTTP: two upstreams, the second asked when the first cannot answer."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from tests.mock_replies import delay, drop, status, text, truncated_json
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running

CHAIN = {"chains": [{"match": "up/*", "targets": ["b/large"]}]}


@asynccontextmanager
async def two(modules: Mapping[str, Any]) -> AsyncIterator[tuple[Running, MockUpstream]]:
    """An instance with the upstreams `up` (its own) and `b`, nothing repeated by itself."""
    async with MockUpstream() as other:
        config = f'[providers.b]\nbase_url = "{other.url}"\napi_key = "key-of-the-other-1"\nmodels = ["large"]\nregion = "us"\n'
        async with running({"retry": False, **modules}, config=config) as s:
            yield s, other


async def test_a_503_of_the_first_is_an_answer_of_the_second():
    async with two({"fallbackrouter": CHAIN}) as (s, other):
        s.mock.script(status(503))
        other.script(text("from b"))
        answer = await s.chat()
        assert answer.json()["choices"][0]["message"]["content"] == "from b"
        assert (answer.headers["x-stockyard-provider"], answer.headers["x-stockyard-model"]) == ("b", "large")
        trace_id = answer.headers["x-stockyard-trace-id"]
        ((action, detail),) = await s.trail(trace_id, "fallbackrouter")
        assert action == "hop"
        assert (detail["from"], detail["to"], detail["reason"]) == ("up/small", "b/large", "503")
        trace = await s.trace(trace_id)
        assert (trace["provider"], trace["model"], trace["tags"]["fallback"]) == ("b", "large", "true")
        assert [attempt["provider"] for attempt in trace["attempts"]] == ["up", "b"]


async def test_a_stream_that_dies_before_its_first_token_goes_on_to_the_second():
    async with two({"fallbackrouter": CHAIN}) as (s, other):
        s.mock.script(drop())
        other.script(text("from b"))
        stream = await s.sdk().chat.completions.create(**s.body(), stream=True)
        chunks = [chunk async for chunk in stream if chunk.choices]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "from b"
        assert [chunk.choices[0].delta.role for chunk in chunks].count("assistant") == 1
        (trace,) = await s.recent_traces(1)
        assert (trace["provider"], trace["status"]) == ("b", "ok")


async def test_a_stream_that_dies_after_its_first_token_ends_with_an_error():
    async with two({"fallbackrouter": CHAIN}) as (s, other):
        s.mock.script(drop(2, "one two three four"))
        stream = await s.sdk().chat.completions.create(**s.body(), stream=True)
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass
        assert not other.calls


@pytest.mark.parametrize("code", [400, 413, 422])
async def test_what_another_provider_would_refuse_too_makes_no_hop(code):
    async with two({"fallbackrouter": CHAIN}) as (s, other):
        s.mock.script(status(code))
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk().chat.completions.create(**s.body())
        assert caught.value.status_code == code
        assert not other.calls
        (trace,) = await s.recent_traces(1)
        assert not [entry for entry in trace["decisions"] if entry["module"] == "fallbackrouter"]


async def test_a_prompt_that_is_too_long_goes_on_only_when_asked_to():
    long = status(400, "This model's maximum context length is 10 tokens")
    async with two({"fallbackrouter": {**CHAIN, "on": ["context_length"]}}) as (s, _):
        s.mock.script(long)
        assert (await s.chat()).headers["x-stockyard-provider"] == "b"
        s.mock.script(status(503))
        assert (await s.chat()).status_code == 502


@pytest.mark.parametrize(
    "reply", [status(401), status(429), status(404, "The model `small` does not exist"), truncated_json()]
)
async def test_other_failures_of_one_provider_lead_to_the_next(reply):
    async with two({"fallbackrouter": CHAIN}) as (s, _):
        s.mock.script(reply)
        assert (await s.chat()).headers["x-stockyard-provider"] == "b"


async def test_when_all_fail_the_error_names_each_and_keeps_the_last_status():
    async with two({"fallbackrouter": CHAIN}) as (s, other):
        s.mock.script(status(503))
        other.script(status(429, headers={"retry-after": "7"}))
        answer = await s.chat()
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (429, "all_targets_failed")
        assert "up/small: 503" in error["message"]
        assert "b/large: 429" in error["message"]
        assert answer.headers["retry-after"] == "7"


async def test_a_single_target_keeps_its_own_error():
    async with two({"fallbackrouter": True}) as (s, _):
        s.mock.script(status(503))
        assert (await s.chat()).json()["error"]["code"] == "provider_error"


async def test_the_header_gives_a_chain_for_one_call():
    async with two({"fallbackrouter": True}) as (s, _):
        s.mock.script(status(503), status(503))
        assert (await s.chat(headers={"X-Stockyard-Fallback": "up/large, b/large"})).headers[
            "x-stockyard-provider"
        ] == "b"
        await s.configure({"fallbackrouter": {"allow_header": False}})
        s.mock.script(status(503))
        assert (await s.chat(headers={"X-Stockyard-Fallback": "b/large"})).status_code == 502


async def test_the_header_is_said_to_be_unused_while_the_module_is_off():
    async with two({}) as (s, _):
        answer = await s.chat(headers={"X-Stockyard-Fallback": "b/large"})
        assert "fallbackrouter" in answer.headers["x-stockyard-warnings"]


async def test_max_hops_bounds_the_walk():
    chain = {"chains": [{"match": "*", "targets": ["up/large", "b/large"]}], "max_hops": 1}
    async with two({"fallbackrouter": chain}) as (s, other):
        s.mock.script(status(503), status(503))
        assert (await s.chat()).json()["error"]["code"] == "all_targets_failed"
        assert not other.calls


async def test_round_robin_begins_with_each_in_turn():
    async with two({"fallbackrouter": {**CHAIN, "strategy": "round_robin"}}) as (s, _):
        served = [(await s.chat()).headers["x-stockyard-provider"] for _ in range(4)]
        assert served == ["up", "b", "up", "b"]


@pytest.mark.parametrize("stream", [False, True])
async def test_by_latency_the_one_that_answers_sooner_is_asked_first(stream: bool) -> None:
    async with two({"fallbackrouter": {**CHAIN, "strategy": "latency"}, "loadbalancer": True}) as (s, other):
        s.mock.script(delay(0.3))
        assert (await s.chat(stream=stream)).headers["x-stockyard-provider"] == "up"
        assert (await s.chat(model="b/large", stream=stream)).status_code == 200
        assert (await s.chat(stream=stream)).headers["x-stockyard-provider"] == "b"
        assert len(other.calls) == 2


async def test_a_chain_stays_within_what_the_key_and_the_header_allow():
    async with two({"fallbackrouter": CHAIN}) as (s, other):
        s.mock.script(status(503))
        assert (await s.chat(headers={"X-Stockyard-Provider": "up"}, model="up/small")).status_code == 502
        principal = next(one for one in s.instance.core.keys.principals() if one.kind == "proxy")
        principal.models = ("up/*",)
        s.mock.script(status(503))
        assert (await s.chat()).status_code == 502
        assert not other.calls


async def test_the_fallback_of_a_route_is_walked_too():
    async with two({"fallbackrouter": True}) as (s, _):
        made = {"pattern": "fast", "targets": [{"target": "up/small"}], "fallback": ["b/large"]}
        assert (await s.http(s.admin_key).post("/api/proxy/routes", json=made)).status_code == 201
        s.mock.script(status(503))
        assert (await s.chat(model="fast")).headers["x-stockyard-provider"] == "b"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_slow_first_target_is_hedged_and_the_loser_cancelled(streamed):
    async with two({"fallbackrouter": True}) as (s, other):
        made = {
            "pattern": "fast",
            "targets": [{"target": "up/small"}],
            "fallback": ["b/large"],
            "hedge_after_ms": 20,
        }
        await s.http(s.admin_key).post("/api/proxy/routes", json=made)
        s.mock.script(delay(30, "from up"))
        other.script(text("from b"))
        if streamed:
            stream = await s.sdk().chat.completions.create(**s.body(model="fast") | {"stream": True})
            said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        else:
            said = (await s.chat(model="fast")).json()["choices"][0]["message"]["content"]
        assert said == "from b"
        (trace,) = await s.recent_traces(1)
        (decision,) = [entry for entry in trace["decisions"] if entry["module"] == "fallbackrouter"]
        assert (decision["action"], decision["detail"]["served"]) == ("hedge", "b/large")
        assert [(row["provider"], row["error"]) for row in trace["attempts"]] == [("up", "cancelled"), ("b", None)]
        assert (trace["status"], trace["provider"], trace["tokens_out"] > 0) == ("ok", "b", True)
        assert s.mock.calls[0].hung_up or not s.mock.calls[0].answered


async def test_a_first_target_that_answers_in_time_is_not_hedged():
    async with two({"fallbackrouter": True}) as (s, other):
        made = {
            "pattern": "fast",
            "targets": [{"target": "up/small"}],
            "fallback": ["b/large"],
            "hedge_after_ms": 30_000,
        }
        await s.http(s.admin_key).post("/api/proxy/routes", json=made)
        assert (await s.chat(model="fast")).headers["x-stockyard-provider"] == "up"
        s.mock.script(status(503))
        assert (await s.chat(model="fast")).headers["x-stockyard-provider"] == "b"
        assert len(other.calls) == 1


async def test_a_hedged_call_that_both_refuse_names_both():
    async with two({"fallbackrouter": True}) as (s, other):
        made = {"pattern": "fast", "targets": [{"target": "up/small"}], "fallback": ["b/large"], "hedge_after_ms": 1}
        await s.http(s.admin_key).post("/api/proxy/routes", json=made)
        slow = status(500)
        slow.delay_s = 0.05
        s.mock.script(slow)
        other.script(status(503))
        error = (await s.chat(model="fast")).json()["error"]
        assert error["code"] == "all_targets_failed"
        assert "up/small" in error["message"]
        assert "b/large" in error["message"]
