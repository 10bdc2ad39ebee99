"""regionroute over HTTP: data stays where it may go, whatever else is on."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.mock_replies import status
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running
from tests.modules.mmdb_file import write_countries

EU = {"eu": {"allowed": ["eu"], "teams": ["acme"]}}


@asynccontextmanager
async def two_regions(
    modules: Mapping[str, Any], *, team: str = "", config: str = ""
) -> AsyncIterator[tuple[Running, MockUpstream, MockUpstream]]:
    """An instance with the providers `east` (region eu) and `west` (us), both serving `shared`; the key is of `team`."""
    async with MockUpstream() as east, MockUpstream() as west:
        providers = "".join(
            f'[providers.{name}]\nbase_url = "{mock.url}"\napi_key = "key-of-{name}-1234"\nmodels = ["shared"]\nregion = "{region}"\n'
            f"priority = {priority}\n"
            for name, mock, region, priority in (("west", west, "us", 10), ("east", east, "eu", 20))
        )
        async with running({"retry": False, **modules}, config=f"{config}\n{providers}") as s:
            principal = next(one for one in s.instance.core.keys.principals() if one.kind == "proxy")
            principal.team = team
            yield s, east, west


@pytest.mark.parametrize("streamed", [False, True])
async def test_every_call_of_a_team_reaches_its_region(streamed):
    async with two_regions({"regionroute": {"regions": EU}}, team="acme") as (s, east, west):
        for _ in range(20):
            made = await s.sdk().chat.completions.create(**s.body(model="shared"), stream=streamed)
            if streamed:
                assert [chunk async for chunk in made]
        assert (len(east.calls), len(west.calls)) == (20, 0)
        (trace,) = await s.recent_traces(1)
        assert trace["tags"]["region"] == "eu"
        (decision,) = [entry["detail"] for entry in trace["decisions"] if entry["module"] == "regionroute"]
        assert decision == {"region": "eu", "source": "team", "kept": ["east/shared"], "dropped": ["west/shared"]}


@pytest.mark.parametrize("streamed", [False, True])
async def test_when_the_region_is_down_no_chain_leads_out_of_it(streamed):
    modules = {
        "regionroute": {"regions": EU},
        "fallbackrouter": {"chains": [{"match": "*", "targets": ["west/shared"]}]},
    }
    async with two_regions(modules, team="acme") as (s, east, west):
        await east.stop()
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk().chat.completions.create(**s.body(model="shared"), stream=streamed)
        assert caught.value.status_code == 503
        header = {"X-Stockyard-Fallback": "west/shared"}
        assert (await s.chat(model="shared", headers=header)).status_code == 503
        assert not west.calls


async def test_without_a_permitted_target_the_call_is_refused():
    async with two_regions({"regionroute": {"regions": EU}}, team="acme") as (s, _east, west):
        refused = await s.chat(model="west/shared")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "region_unavailable")
        assert refused.headers["x-should-retry"] == "false"
        unknown = await s.chat()
        assert unknown.json()["error"]["code"] == "region_unavailable"
        assert not west.calls
        assert not s.mock.calls


async def test_other_teams_and_an_unconfigured_module_are_not_limited():
    async with two_regions({"regionroute": {"regions": EU}}, team="other") as (s, _east, _west):
        assert (await s.chat(model="shared")).headers["x-stockyard-provider"] == "west"
        await s.configure({"regionroute": {}})
        assert (await s.chat(model="shared")).headers["x-stockyard-provider"] == "west"


async def test_without_strict_the_region_is_preferred_and_its_absence_flagged():
    async with two_regions({"regionroute": {"regions": EU, "strict": False}}, team="acme") as (s, _east, _west):
        assert (await s.chat(model="shared")).headers["x-stockyard-provider"] == "east"
        assert (await s.chat(model="west/shared")).status_code == 200
        (trace,) = await s.recent_traces(1)
        assert [entry["action"] for entry in trace["decisions"] if entry["module"] == "regionroute"] == [
            "region",
            "flag",
        ]


async def test_the_order_of_preference_decides():
    regions = {"any": {"allowed": ["eu", "us"]}}
    async with two_regions({"regionroute": {"regions": regions, "default_region": "any"}}) as (s, _, _west):
        assert (await s.chat(model="shared")).headers["x-stockyard-provider"] == "east"


async def test_a_region_may_have_an_address_of_its_own_for_a_provider():
    async with MockUpstream() as european:
        regions = {"eu": {"allowed": ["eu"], "endpoints": {"west": european.url}}}
        async with two_regions({"regionroute": {"regions": regions, "default_region": "eu"}}) as (s, _, west):
            assert (await s.chat(model="west/shared")).status_code == 200
            embedded = await s.http().post("/v1/embeddings", json={"model": "west/shared", "input": "hi"})
            assert embedded.status_code == 200
            assert (len(european.calls), len(west.calls)) == (2, 0)


GROUP = {"model": "*", "targets": [{"target": "west/shared"}, {"target": "east/shared", "weight": 0}]}
CHAIN = {"match": "*", "targets": ["west/shared"]}
VOTE = {"name": "jury", "targets": ["west/shared", "east/shared"], "strategy": "cheapest"}


@pytest.mark.parametrize(
    "more",
    [
        {"weightedrouter": {"groups": [GROUP]}},
        {"fallbackrouter": {"chains": [CHAIN]}},
        {"multicall": {"routes": [VOTE]}},
    ],
)
async def test_targets_that_other_modules_add_are_asked_at_the_regions_address(more: dict[str, Any]) -> None:
    async with MockUpstream() as european:
        regions = {"eu": {"allowed": ["eu"], "endpoints": {"west": european.url}}}
        modules = {"regionroute": {"regions": regions, "default_region": "eu"}, **more}
        async with two_regions(modules) as (s, east, west):
            east.script(status(503))
            headers = {"X-Stockyard-Route": "jury"} if "multicall" in more else {}
            answer = await s.chat(model="east/shared", headers=headers)
            assert answer.status_code == 200
            assert european.calls
            assert not west.calls


async def test_the_callers_word_counts_only_when_it_is_trusted():
    regions = {"eu": {"allowed": ["eu"]}, "us": {"allowed": ["us"]}}
    own = {"regions": regions, "default_region": "eu"}
    async with two_regions({"regionroute": own}) as (s, _, _west):
        header = {"X-Stockyard-Region": "us"}
        assert (await s.chat(model="shared", headers=header)).headers["x-stockyard-provider"] == "east"
        await s.configure({"regionroute": {**own, "trust_header": True}})
        assert (await s.chat(model="shared", headers=header)).headers["x-stockyard-provider"] == "west"
        bad = await s.chat(model="shared", headers={"X-Stockyard-Region": "mars"})
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "X-Stockyard-Region")


async def test_a_team_named_in_a_header_is_not_believed():
    async with two_regions({"regionroute": {"regions": EU}}) as (s, _, _west):
        answer = await s.chat(model="shared", headers={"X-Stockyard-Team": "acme"})
        assert answer.headers["x-stockyard-provider"] == "west"


async def test_the_country_of_the_address_tells_the_region(tmp_path: Path):
    write_countries(tmp_path / "countries.mmdb", {"192.0.2.0/24": "DE", "198.51.100.0/24": "US"})
    own = {"regions": {"eu": {"allowed": ["eu"], "countries": ["de"]}}, "geoip_db": str(tmp_path / "countries.mmdb")}
    config = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
    async with two_regions({"regionroute": own}, config=config) as (s, _, _west):
        for address, provider in (("192.0.2.7", "east"), ("198.51.100.7", "west"), ("203.0.113.7", "west")):
            answer = await s.chat(model="shared", headers={"X-Forwarded-For": address})
            assert answer.headers["x-stockyard-provider"] == provider


async def test_settings_that_cannot_hold_are_refused(tmp_path: Path):
    (tmp_path / "no.mmdb").write_bytes(b"this is no such file")
    async with running() as s:
        for config, said in (
            ({"default_region": "eu"}, "default_region"),
            ({"regions": {"eu": {"allowed": []}}}, "allowed"),
            ({"regions": {"eu": {"allowed": ["eu"], "endpoints": {"up": "ftp://x"}}}}, "endpoints"),
            ({"geoip_db": str(tmp_path / "missing.mmdb")}, "geoip_db"),
            ({"geoip_db": str(tmp_path / "no.mmdb")}, "geoip_db"),
        ):
            refused = await s.http(s.admin_key).put(
                "/api/proxy/modules/regionroute", json={"enabled": True, "config": config}
            )
            assert refused.status_code == 422, refused.text
            assert said in refused.text


async def test_a_call_that_the_caller_got_wrong_is_not_blamed_on_the_region():
    modules = {
        "regionroute": {"regions": EU},
        "fallbackrouter": {"chains": [{"match": "*", "targets": ["west/shared"]}]},
    }
    async with two_regions(modules, team="acme") as (s, east, _):
        east.script(status(400))
        assert (await s.chat(model="shared")).json()["error"]["code"] == "bad_request"
