"""modelalias over HTTP: own names reach the model that they stand for, whole and streamed."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from tests.modules.conftest import Running, running

FAST = {"alias": "fast", "target": "up/small"}


@pytest.fixture
async def s() -> AsyncIterator[Running]:
    async with running({"modelalias": {"aliases": [FAST]}}) as started:
        yield started


async def put(s: Running, name: str, **fields: Any) -> httpx2.Response:
    return await s.http(s.admin_key).put(f"/api/proxy/aliases/{name}", json=fields)


def asked(s: Running) -> str:
    model: str = s.mock.calls[-1].json()["model"]
    return model


async def test_an_alias_reaches_its_target_whole_and_streamed_and_is_listed(s):
    sdk = s.sdk()
    answer = await sdk.chat.completions.create(model="fast", messages=[{"role": "user", "content": "hi"}])
    assert (answer.choices[0].message.content, asked(s)) == ("echo: hi", "small")
    stream = await sdk.chat.completions.create(model="fast", messages=[{"role": "user", "content": "hi"}], stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]) == "echo: hi"
    assert asked(s) == "small"
    listed = {model.id: model.owned_by async for model in sdk.models.list()}
    assert listed["fast"] == "up"
    assert "up/small" in listed
    assert (await sdk.models.retrieve("fast")).owned_by == "up"
    (trace, _) = await s.recent_traces(2)
    assert (trace["model_requested"], trace["model"]) == ("fast", "small")
    assert [(entry["action"], entry["detail"]) for entry in trace["decisions"] if entry["module"] == "modelalias"] == [
        ("alias", {"from": "fast", "to": "up/small"})
    ]


async def test_a_circle_is_refused_when_it_is_saved(s):
    refused = await s.http(s.admin_key).put(
        "/api/proxy/modules/modelalias",
        json={"config": {"aliases": [{"alias": "a", "target": "b"}, {"alias": "b", "target": "a"}]}},
    )
    assert refused.status_code == 422
    assert "circle" in refused.json()["error"]["message"]
    assert (await s.chat(model="fast")).status_code == 200
    assert (await put(s, "a", target="b")).status_code == 200
    assert (await put(s, "b", target="a")).status_code == 422
    assert (await put(s, "self*", target="self-made")).status_code == 422


async def test_a_changed_target_is_used_by_the_next_call(s):
    assert (await put(s, "quick", target="up/small")).json()["status"] == "created"
    await s.chat(model="quick")
    assert (await put(s, "quick", target="up/large")).json()["status"] == "updated"
    await s.chat(model="quick")
    assert [call.json()["model"] for call in s.mock.calls] == ["small", "large"]
    http = s.http(s.admin_key)
    rows = (await http.get("/api/proxy/aliases")).json()["aliases"]
    assert {(row["alias"], row["source"]) for row in rows} == {("quick", "stored"), ("fast", "module")}
    assert (await http.delete("/api/proxy/aliases/quick")).status_code == 200
    assert (await http.delete("/api/proxy/aliases/quick")).status_code == 404
    assert (await http.delete("/api/proxy/aliases/fast")).status_code == 409


async def test_a_glob_carries_over_what_its_star_stood_for(s):
    await put(s, "my-*", target="up/gpt-$1")
    await s.chat(model="my-4o-mini")
    assert asked(s) == "gpt-4o-mini"


async def test_a_bare_glob_leaves_provider_and_model_alone(s):
    await put(s, "*", target="up/large")
    await s.chat(model="up/small")
    assert asked(s) == "small"


async def test_aliases_may_lead_to_aliases_and_over_five_are_refused(s):
    for number in range(4):
        assert (await put(s, f"n{number}", target=f"n{number + 1}")).status_code == 200
    assert (await put(s, "n4", target="up/large")).status_code == 200
    await s.chat(model="n0")
    assert asked(s) == "large"
    assert (await put(s, "before", target="n0")).status_code == 422


async def test_an_alias_may_be_for_a_team_or_a_key_only(s):
    await s.configure(
        {
            "modelalias": {
                "aliases": [
                    {"alias": "best", "target": "up/small"},
                    {"alias": "best", "target": "up/large", "teams": ["acme"]},
                ]
            }
        }
    )
    await s.chat(model="best")
    assert asked(s) == "small"
    await s.chat(model="best", headers={"X-Stockyard-Team": "acme"})
    assert asked(s) == "large"


async def test_parameters_and_system_prefix_are_added_where_the_call_has_none(s):
    await put(s, "poet", target="up/small", params={"temperature": 0.9, "max_tokens": 7}, system_prefix="Rhyme.")
    await s.chat(model="poet", temperature=0.1)
    sent = s.mock.calls[-1].json()
    assert (sent["temperature"], sent["max_tokens"]) == (0.1, 7)
    assert sent["messages"] == [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_answer_may_show_the_name_that_was_asked_for(streamed):
    async with running({"modelalias": {"aliases": [FAST], "show": "asked"}}) as s:
        made = await s.sdk().chat.completions.create(
            model="fast", messages=[{"role": "user", "content": "hi"}], stream=streamed
        )
        models = {chunk.model async for chunk in made} if streamed else {made.model}
        assert models == {"fast"}


async def test_only_aliases_may_be_asked_for_when_others_are_hidden():
    async with running({"modelalias": {"aliases": [FAST], "hide_others": True}}) as s:
        assert (await s.chat(model="fast")).status_code == 200
        with pytest.raises(openai.NotFoundError) as caught:
            await s.sdk().chat.completions.create(model="fest", messages=[{"role": "user", "content": "hi"}])
        assert caught.value.code == "model_not_found"
        assert "'fast'" in str(caught.value)
        assert [model.id async for model in s.sdk().models.list()] == ["fast"]


async def test_a_name_that_ends_warns_before_and_leads_on_after(s):
    await put(s, "soon", target="up/small", until="2100-01-01T00:00:00Z", successor="fast")
    warned = await s.chat(model="soon")
    assert "2100-01-01" in warned.headers["x-stockyard-warnings"]
    assert "2100" in warned.headers["sunset"]
    await put(s, "old", target="up/large", until="2020-01-01T00:00:00Z", successor="fast")
    await s.chat(model="old")
    assert asked(s) == "small"
    await put(s, "gone", target="up/large", until="2020-01-01T00:00:00Z")
    assert (await s.chat(model="gone")).status_code == 404


async def test_aliases_of_the_configuration_act_and_a_stored_one_wins():
    async with running(config='[aliases.quick]\ntarget = "up/small"\n') as s:
        await s.chat(model="quick")
        assert asked(s) == "small"
        await put(s, "quick", target="up/large")
        await s.chat(model="quick")
        assert asked(s) == "large"


async def test_an_alias_of_what_nothing_serves_says_why(s):
    await put(s, "claude", target="anthropic/claude-sonnet")
    refused = await s.chat(model="claude")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_provider")


async def test_without_aliases_the_module_is_not_on_the_way_of_a_call():
    async with running() as s:
        assert s.module("modelalias").hooks() == ()
        await put(s, "quick", target="up/small")
        assert s.module("modelalias").hooks() == ("on_request",)
        await s.chat(model="quick")
        assert asked(s) == "small"


async def test_a_name_with_many_stars_is_matched_in_no_time_and_each_is_captured(s):
    await put(s, "a*b*c*d*e*f*g*h*", target="up/$1-$8")
    assert (await s.chat(model="a1b2c3d4e5f6g7h8")).status_code == 200
    assert asked(s) == "1-8"
    assert (await s.chat(model="up/" + "ab" * 120)).status_code == 200
