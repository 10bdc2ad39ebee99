"""modelswitch over HTTP: rules choose the model, and within what the caller may use."""

from collections.abc import Callable
from typing import Any

import openai
import pytest

from instance.chute.modules.routing.switch_conditions import Hours, Measures, When
from tests.modules.conftest import Running, running
from tests.modules.exchanges import exchange

LONG = {"name": "long", "when": {"tokens": {"gt": 1000}}, "model": "up/large"}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def rules(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"modelswitch": {"rules": list(rows), **more}}


def asked(s: Running) -> str:
    model: str = s.mock.calls[-1].json()["model"]
    return model


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_long_prompt_reaches_the_large_model_and_a_short_one_does_not(streamed):
    async with running(rules(LONG)) as s:
        sdk = s.sdk()
        for text, model in (("short", "small"), ("word " * 2000, "large")):
            made = await sdk.chat.completions.create(**s.body(text), stream=streamed)
            if streamed:
                assert [chunk async for chunk in made]
            assert asked(s) == model
        (trace,) = await s.recent_traces(1)
        assert (trace["model_requested"], trace["model"], trace["tags"]["route_rule"]) == ("up/small", "large", "long")
        (decision,) = [entry for entry in trace["decisions"] if entry["module"] == "modelswitch"]
        assert (decision["action"], decision["detail"]) == (
            "route",
            {"rule": "long", "from": "up/small", "to": "up/large"},
        )


async def test_a_rule_on_images_routes_a_vision_request_only():
    async with running(rules({"name": "see", "when": {"images": True}, "model": "up/large"})) as s:
        await s.chat("an image_url in words")
        assert asked(s) == "small"
        parts = [{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
        assert (await s.chat(parts)).status_code == 200
        assert asked(s) == "large"


async def test_the_first_rule_that_holds_decides_and_none_leaves_the_call_alone():
    first = {"name": "first", "when": {"text": {"contains": ["Hello"]}}, "model": "up/one"}
    second = {"name": "second", "when": {"text": {"re2": "hel+o", "where": "all"}}, "model": "up/two"}
    async with running(rules(first, second)) as s:
        for text, model in (("oh HELLO you", "one"), ("helo", "two"), ("bye", "small")):
            await s.chat(text)
            assert asked(s) == model


async def test_a_rule_may_name_the_provider_too():
    async with running(rules({"name": "to mock", "when": {}, "model": "gpt", "provider": "mock"})) as s:
        assert (await s.chat()).headers["x-stockyard-provider"] == "mock"


async def test_a_call_without_a_model_gets_the_default_or_a_400():
    async with running(rules(LONG, default_model="up/small")) as s:
        body = {"messages": [{"role": "user", "content": "hi"}]}
        http = s.http()
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        assert asked(s) == "small"
        await s.configure(rules(LONG))
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model="", messages=[{"role": "user", "content": "hi"}])
        assert caught.value.code == "model_required"
        assert (await http.post("/v1/chat/completions", json={**body, "model": "up/large"})).status_code == 200


async def test_a_rule_never_leads_out_of_what_the_key_and_the_header_allow():
    async with running(rules({"name": "all", "when": {}, "model": "mock/gpt"})) as s:
        assert (await s.chat(headers={"X-Stockyard-Provider": "up"})).headers["x-stockyard-provider"] == "up"
        principal = next(one for one in s.instance.core.keys.principals() if one.kind == "proxy")
        principal.models = ("up/*",)
        assert (await s.chat()).headers["x-stockyard-provider"] == "up"
        (trace,) = await s.recent_traces(1)
        assert [entry["action"] for entry in trace["decisions"] if entry["module"] == "modelswitch"] == ["passed_over"]


async def test_a_share_is_decided_by_the_session():
    async with running(rules({"name": "half", "when": {}, "model": "up/large", "share_pct": 50})) as s:
        models = {}
        for _ in range(2):
            for number in range(40):
                await s.chat(headers={"X-Stockyard-Session": f"s{number}"})
                assert models.setdefault(number, asked(s)) == asked(s)
        assert 8 <= sum(model == "large" for model in models.values()) <= 32


@pytest.mark.parametrize(
    ("rule", "param"),
    [
        ({"name": "x", "when": {"text": {"re2": "("}}, "model": "m"}, "re2"),
        ({"name": "x", "when": {"tokens": {}}, "model": "m"}, "tokens"),
        ({"name": "x", "when": {"hours": {"time_zone": "Mars/Base"}}, "model": "m"}, "time_zone"),
        ({"name": "x", "when": {"headers": {"Authorization": "*"}}, "model": "m"}, "headers"),
        ({"name": "x", "when": {"tokns": {"gt": 1}}, "model": "m"}, "tokns"),
    ],
)
async def test_a_bad_rule_is_refused_when_it_is_saved(rule, param):
    async with running() as s:
        refused = await s.http(s.admin_key).put("/api/proxy/modules/modelswitch", json={"config": {"rules": [rule]}})
        assert refused.status_code == 422
        assert param in refused.json()["error"]["param"]


def holds(when: dict[str, Any], cost: Callable[[Any], float | None] = lambda x: None, **more: Any) -> bool:
    x = exchange(**more)
    measures = Measures(cost)
    return all(test(x, measures) for test in When.model_validate(when).tests())


def test_conditions_on_the_caller():
    assert holds({"model": ["gpt-*"], "teams": ["ac*"]}, team="acme")
    assert not holds({"model": ["gpt-*"], "teams": ["ac*"]}, team="other")
    assert holds({"tags": {"feature": "s*"}}, tags={"feature": "search"})
    assert not holds({"tags": {"feature": "*"}})
    assert holds({"headers": {"X-Plan": "pro"}}, headers={b"x-plan": b"pro"})
    assert not holds({"headers": {"X-Plan": "*"}})
    assert holds({"users": ["u1"]}, user="u1")


def test_conditions_on_the_request():
    req = {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function"}],
        "response_format": {"type": "json_object"},
    }
    assert holds({"tools": True, "response_format": True, "images": False}, req=req)
    assert not holds({"tools": False}, req=req)
    assert holds({"cost_usd": {"gt": 0.5}}, lambda x: 0.6)
    assert not holds({"cost_usd": {"gt": 0.5}}, lambda x: None)
    assert holds({"tokens": {"gte": 1, "lte": 50}})


def at(text: str) -> int:
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def test_hours_hold_in_their_time_zone_and_over_midnight():
    office = Hours.model_validate({"from": "09:00", "to": "17:00", "weekdays": ["mon"], "time_zone": "Europe/Berlin"})
    assert office.hold(at("2026-11-23T08:00:00"))
    assert not office.hold(at("2026-11-23T16:00:00"))
    assert not office.hold(at("2026-11-24T08:00:00"))
    night = Hours.model_validate({"from": "22:00", "to": "06:00", "weekdays": ["mon"]})
    assert night.hold(at("2026-11-24T05:59:00"))
    assert not night.hold(at("2026-11-23T05:59:00"))
