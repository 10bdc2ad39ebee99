"""Routes, as callers and operators see them: over HTTP, whole and streamed, with the mock upstream behind."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from instance.chute.route_table import MATCHED_MAX, RouteTable
from instance.chute.routes import Route, RouteTarget
from instance.core.keys import hash_key
from instance.core.settings_sources import SettingsError
from tests.modules.conftest import Running, running


@pytest.fixture
async def s() -> AsyncIterator[Running]:
    async with running() as started:
        yield started


async def route(s: Running, **fields: Any) -> httpx2.Response:
    return await s.http(s.admin_key).post("/api/proxy/routes", json=fields)


def models_asked(s: Running) -> list[str]:
    return [call.json()["model"] for call in s.mock.calls]


def narrow(s: Running, *models: str) -> None:
    """Let the proxy key use these models only."""
    principal = s.instance.core.keys.find(hash_key(s.key))
    assert principal is not None
    principal.models = models


async def test_a_route_decides_where_a_name_leads_whole_and_streamed(s):
    assert (await s.chat(model="fast/one")).status_code == 200
    created = await route(s, pattern="fast*", targets=[{"target": "up/large", "weight": 3, "region": "eu"}])
    assert created.status_code == 201
    assert (created.json()["status"], created.json()["id"], created.json()["source"]) == ("created", 1, "stored")
    whole = await s.chat(model="fast/one")
    assert whole.headers["x-stockyard-model"] == "large"
    stream = await s.sdk().chat.completions.create(
        model="fast-two", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]) == "echo: hi"
    assert models_asked(s) == ["fast/one", "large", "large"]


async def test_routes_are_listed_changed_and_deleted_and_each_write_is_in_the_ledger(s):
    http = s.http(s.admin_key)
    first = (await route(s, pattern="a", provider="up", model="small")).json()
    assert (first["provider"], first["model"], first["targets"][0]["target"]) == ("up", "small", "up/small")
    await route(s, pattern="a", targets=[{"target": "up/large"}], priority=5)
    listed = (await http.get("/api/proxy/routes")).json()
    assert [row["id"] for row in listed["routes"]] == [2, 1]
    assert listed["count"] == listed["total"] == 2
    assert (await s.chat(model="a")).headers["x-stockyard-model"] == "large"
    changed = await http.put("/api/proxy/routes/2", json={"enabled": False})
    assert (changed.json()["status"], changed.json()["enabled"], changed.json()["priority"]) == ("updated", False, 5)
    assert (await s.chat(model="a")).headers["x-stockyard-model"] == "small"
    assert (await http.delete("/api/proxy/routes/1")).json() == {"status": "deleted", "id": 1}
    assert (await http.delete("/api/proxy/routes/1")).status_code == 404
    await s.settled()
    actions = await s.instance.core.database.read(
        lambda conn: conn.execute("SELECT action, resource FROM ledger WHERE resource LIKE 'route:%'").fetchall()
    )
    assert sorted(actions) == [
        ("create", "route:1"),
        ("create", "route:2"),
        ("delete", "route:1"),
        ("update", "route:2"),
    ]


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"pattern": "a", "targets": [{"target": "upp/small"}]}, "targets[0].target", "'up'"),
        ({"pattern": "a", "targets": [{"target": "up/small"}], "fallback": ["small"]}, "fallback[0]", "provider/model"),
        ({"pattern": "a"}, "targets", "targets"),
        ({"pattern": "a", "model": "small"}, "provider", "provider"),
    ],
)
async def test_a_route_that_leads_nowhere_is_refused_with_the_nearest_name(s, fields, param, said):
    refused = await route(s, **fields)
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == param
    assert said in refused.json()["error"]["message"]


async def test_a_route_says_which_module_it_needs(s):
    made = await route(s, pattern="a", targets=[{"target": "up/small"}], sticky=True)
    assert all("is off" in warning for warning in made.json()["warnings"])


async def test_an_explicit_provider_and_model_is_only_rerouted_by_a_pattern_with_a_slash(s):
    await route(s, pattern="*", targets=[{"target": "up/large"}])
    assert (await s.chat(model="up/small")).headers["x-stockyard-model"] == "small"
    assert (await s.chat(model="anything")).headers["x-stockyard-model"] == "large"
    await route(s, pattern="up/small", targets=[{"target": "mock/gpt"}], priority=1)
    assert (await s.chat(model="up/small")).headers["x-stockyard-provider"] == "mock"


async def test_a_target_with_a_star_keeps_the_asked_model(s):
    await route(s, pattern="small*", provider="up")
    assert (await s.chat(model="small-2")).headers["x-stockyard-model"] == "small-2"
    await route(s, pattern="mock/*", targets=[{"target": "up/*"}])
    assert (await s.chat(model="mock/gpt")).headers["x-stockyard-model"] == "gpt"
    assert models_asked(s) == ["small-2", "gpt"]


async def test_a_route_may_be_for_some_paths_only(s):
    await route(s, pattern="*", targets=[{"target": "up/large"}], path="/v1/embed*")
    assert (await s.chat(model="small")).headers["x-stockyard-model"] == "small"


@pytest.mark.parametrize("header", ["X-Stockyard-Provider", "X-Provider"])
async def test_the_header_names_the_provider_and_a_route_only_chooses_among_its_targets(s, header):
    await route(s, pattern="any", targets=[{"target": "up/large"}, {"target": "mock/gpt"}])
    assert (await s.chat(model="any", headers={header: "mock"})).headers["x-stockyard-provider"] == "mock"
    unknown = await s.chat(model="any", headers={header: "nowhere"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "unknown_provider")


async def test_a_header_never_reaches_what_the_key_may_not_use(s):
    narrow(s, "up/*")
    body = s.body()
    http = s.http()
    assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
    for headers in (
        {"X-Stockyard-Provider": "mock"},
        {"X-Stockyard-Model": "mock/gpt"},
        {"X-Stockyard-Fallback": "up/large, mock/gpt"},
    ):
        refused = await http.post("/v1/chat/completions", json=body, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden"), headers


@pytest.mark.parametrize(
    ("value", "code"),
    [("small", "bad_request"), (",".join(["up/small"] * 9), "bad_request"), ("nowhere/x", "unknown_provider")],
)
async def test_a_bad_fallback_header_is_a_400_that_names_it(s, value, code):
    refused = await s.chat(headers={"X-Stockyard-Fallback": value})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, code, "X-Stockyard-Fallback")


async def test_routes_of_the_configuration_are_shown_with_their_source_and_only_changed_there():
    config = '[[routes]]\npattern = "fast"\ntargets = [{ target = "up/large" }]\n'
    async with running(config=config) as s:
        http = s.http(s.admin_key)
        (row,) = (await http.get("/api/proxy/routes")).json()["routes"]
        assert (row["id"], row["source"]) == (-1, "file")
        assert (await s.chat(model="fast")).headers["x-stockyard-model"] == "large"
        assert (await http.delete("/api/proxy/routes/-1")).status_code == 409
        await route(s, pattern="fast", targets=[{"target": "up/small"}])
        assert (await s.chat(model="fast")).headers["x-stockyard-model"] == "small"


async def test_a_misspelt_field_of_the_configuration_is_refused_with_the_nearest_name():
    with pytest.raises(SettingsError) as caught:
        async with running(config='[[routes]]\npattern = "a"\nstikcy = true\ntargets = [{ target = "up/large" }]\n'):
            pass
    assert "did you mean routes.0.sticky?" in str(caught.value)


async def test_a_route_whose_provider_cannot_be_used_is_a_503_that_says_so(s):
    await route(s, pattern="fast", targets=[{"target": "anthropic/claude"}])
    refused = await s.chat(model="fast")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_provider")
    assert "route 1" in refused.json()["error"]["message"]


async def test_explain_shows_the_way_of_a_call_and_makes_none(s):
    await route(s, pattern="fast", targets=[{"target": "up/large"}])
    http = s.http(s.admin_key)
    asked = {"body": {"model": "fast", "messages": [{"role": "user", "content": "hi"}]}}
    found = (await http.post("/api/proxy/explain", json=asked)).json()
    assert [target["target"] for target in found["targets"]] == ["up/large"]
    assert found["route"] == 1
    assert found["rejected"] is None
    assert found["estimate"]["tokens_in"] > 0
    assert found["request_after"]["messages"][0]["content"] == "hi"
    assert not s.mock.calls


async def test_explain_says_who_would_refuse_and_counts_nothing():
    limits = {"limits": [{"by": "key", "requests": 1, "per": "minute"}]}
    async with running({"rateshield": limits}) as s:
        http = s.http(s.admin_key)
        asked = {"body": s.body(), "key_id": next(p.key_id for p in s.instance.core.keys.principals() if p.may_call)}
        for _ in range(3):
            found = (await http.post("/api/proxy/explain", json=asked)).json()
            assert found["rejected"] is None, found
        missing = (await http.post("/api/proxy/explain", json={"body": {"model": "x"}})).json()
        assert (missing["rejected"]["code"], missing["rejected"]["param"]) == ("bad_request", "messages")
        nowhere = (await http.post("/api/proxy/explain", json={"body": {}, "path": "/v1/nowhere"})).json()
        assert nowhere["error"]["code"] == "invalid_value"


async def test_explaining_leaves_nothing_behind_in_modules_that_count():
    modules = {
        "idlekill": {"same_request_max": 1},
        "loadbalancer": {"strategy": "round_robin"},
        "weightedrouter": True,
        "stickysession": True,
    }
    async with running(modules) as s:
        await route(s, pattern="any", targets=[{"target": "up/small"}, {"target": "mock/small"}])
        asked = {"body": s.body(model="any", stream=True)}
        found = [(await s.http(s.admin_key).post("/api/proxy/explain", json=asked)).json() for _ in range(4)]
        assert [row["rejected"] for row in found] == [None] * 4
        assert len({row["targets"][0]["target"] for row in found}) == 1
        assert s.module("stickysession").report() == {"sessions": 0}
        assert not s.module("idlekill")._stalls.watched
        assert (await s.chat(model="any")).status_code == 200


async def test_without_routes_a_call_matches_none():
    table = RouteTable()
    assert not table.active
    assert table.match("gpt-4o", "/v1/chat/completions") is None


async def test_what_a_table_remembers_of_names_is_bounded():
    table = RouteTable()
    table.replace_stored([Route(1, "a*", (RouteTarget("up/x"),))])
    for number in range(MATCHED_MAX + 10):
        assert table.match(f"a{number}", "/v1/chat/completions") is not None
    assert len(table._matched) <= MATCHED_MAX


async def test_the_key_of_another_team_cannot_be_explained(s):
    refused = await s.http(s.admin_key).post("/api/proxy/explain", json={"body": s.body(), "key_id": 9999})
    assert refused.status_code == 404
