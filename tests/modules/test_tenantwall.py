"""tenantwall over HTTP: who may come in, what serves whom, and how much each client may use."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.mock_replies import chunks, delay, status, text
from tests.modules.clients import HEADER, key_of, said
from tests.modules.conftest import UPSTREAM_KEY, Running, running
from tests.modules.upstreams import TurnedClock

TWO = [{"id": "acme"}, {"id": "bolt"}]
PRICED = '[prices."up/small"]\nin_usd_per_mtok = 1000000\nout_usd_per_mtok = 1000000\n'
OWN_KEY = "acme-own-key-at-up-0001"
both_ways = pytest.mark.parametrize("stream", [False, True])


def wall(*clients: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"clients": list(clients) or TWO, **more}


async def refused(s: Running, key: str, **more: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        await said(s, key, **more)
    return caught.value


@both_ways
async def test_the_same_question_of_two_clients_is_asked_twice(stream: bool) -> None:
    async with running({"tenantwall": wall(), "cachelayer": {"scope": "global"}}) as s:
        acme, bolt = await key_of(s, "acme"), await key_of(s, "bolt")
        s.mock.script(text("for acme"), text("for bolt"))
        assert [await said(s, key, stream=stream) for key in (acme, bolt)] == ["for acme", "for bolt"]
        assert len(s.mock.calls) == 2
        again = [await said(s, key, stream=not stream) for key in (acme, bolt)]
        assert (again, len(s.mock.calls)) == (["for acme", "for bolt"], 2)


@both_ways
async def test_a_clients_key_does_not_speak_for_another_nor_learns_who_there_is(stream: bool) -> None:
    async with running({"tenantwall": wall()}) as s:
        acme, nobodys = await key_of(s, "acme"), s.key
        bolt, unknown = [
            await refused(s, acme, stream=stream, extra_headers={HEADER: name}) for name in ("bolt", "nobody")
        ]
        assert (bolt.status_code, bolt.code) == (403, "client_unknown")
        assert bolt.response.headers["x-stockyard-module"] == "tenantwall"
        assert bolt.response.headers["x-should-retry"] == "false"
        assert isinstance(bolt.body, dict) and isinstance(unknown.body, dict)
        assert {
            name: bolt.body[name] for name in ("code", "message", "status", "param")
        }.items() <= unknown.body.items()
        assert (await refused(s, nobodys, stream=stream, extra_headers={HEADER: "acme"})).code == "client_unknown"
        assert not s.mock.calls
        assert await said(s, acme, stream=stream, extra_headers={HEADER: "acme"}) == "echo: hi"
        assert await s.trail(bolt.response.headers["x-stockyard-trace-id"], "tenantwall") == [
            ("client", {"id": "acme", "check": "unknown"}),
            ("reject", {"code": "client_unknown"}),
        ]


@both_ways
async def test_a_clients_limit_leaves_the_other_alone_and_ends_with_its_window(stream: bool) -> None:
    settings = wall({"id": "acme", "max_requests": 2}, {"id": "bolt"}, window_s=60)
    async with running({"tenantwall": settings}) as s:
        clock = s.module("tenantwall")._clock = TurnedClock()
        acme, bolt = await key_of(s, "acme"), await key_of(s, "bolt")
        clock.ahead_ns = 60 * 10**9 - clock.wall_ns() % (60 * 10**9)  # where a window begins
        for _ in range(2):
            assert await said(s, acme, stream=stream) == "echo: hi"
        error = await refused(s, acme, stream=stream)
        assert isinstance(error, openai.RateLimitError)
        assert error.code == "client_limit"
        assert 1 <= int(error.response.headers["retry-after"]) <= 60
        assert await said(s, bolt, stream=stream) == "echo: hi"
        assert len(s.mock.calls) == 3
        clock.ahead_ns += 60 * 10**9
        assert await said(s, acme, stream=stream) == "echo: hi"


async def test_the_list_of_models_has_only_the_clients() -> None:
    settings = wall({"id": "acme", "models": ["up/small"]}, {"id": "bolt", "providers": ["up"]}, default={"models": []})
    async with running({"tenantwall": settings, "modelalias": {}}) as s:
        acme, bolt, other = await key_of(s, "acme"), await key_of(s, "bolt", limits={}), await key_of(s, "other")

        async def listed(key: str, **more: Any) -> list[str]:
            return [model.id async for model in s.sdk(key).models.list(**more)]

        assert await listed(acme) == ["up/small"]
        assert await listed(other) == []
        front = await key_of(s, multi_client=True)
        assert await listed(front, extra_headers={HEADER: "acme"}) == ["up/small"]
        everything = await listed(s.key)
        assert {"up/small", "up/large"} < set(everything)
        assert await listed(bolt) == []  # its own models are `default`'s: none
        with pytest.raises(openai.NotFoundError):
            await s.sdk(acme).models.retrieve("up/large")
        with pytest.raises(openai.PermissionDeniedError):
            await listed(acme, extra_headers={HEADER: "bolt"})


@both_ways
async def test_a_key_for_many_names_its_client_with_each_request(stream: bool) -> None:
    settings = wall({"id": "acme", "max_requests": 1}, {"id": "bolt"}, header="X-Customer")
    async with running({"tenantwall": settings}) as s:
        front = await key_of(s, multi_client=True)
        for client in ("acme", "bolt"):
            assert await said(s, front, stream=stream, extra_headers={"x-customer": client}) == "echo: hi"
        bolts, acmes = await s.recent_traces(2)
        assert [(trace["client"], trace["team_id"]) for trace in (acmes, bolts)] == [
            ("acme", "client:acme"),
            ("bolt", "client:bolt"),
        ]
        assert (await refused(s, front, stream=stream, extra_headers={"x-customer": "acme"})).code == "client_limit"
        for name in ("nobody", "two words", "*"):
            error = await refused(s, front, stream=stream, extra_headers={"x-customer": name})
            assert (error.status_code, error.code) == (403, "client_unknown")
        assert await said(s, front, stream=stream) == "echo: hi"  # for no client, as none is required
        await s.configure({"tenantwall": {**settings, "require": True}})
        for key in (front, s.key):
            error = await refused(s, key, stream=stream)
            assert (error.status_code, error.code) == (401, "client_required")
        assert await said(s, front, stream=stream, extra_headers={"x-customer": "bolt"}) == "echo: hi"


@both_ways
async def test_what_may_not_serve_a_client_never_does(stream: bool) -> None:
    chains = [{"match": "*", "targets": ["up/large", "other/small"]}]
    other = '[providers.other]\nbase_url = "{}"\napi_key = "key-of-the-other-01"\nmodels = ["small"]\n'
    async with running(
        {
            "tenantwall": wall({"id": "acme", "models": ["small"], "providers": ["u*"]}, {"id": "bolt"}),
            "fallbackrouter": {"chains": chains},
            "retry": False,
        },
        providers=lambda mock: other.format(mock.url),
    ) as s:
        acme, bolt = await key_of(s, "acme"), await key_of(s, "bolt")
        error = await refused(s, acme, stream=stream, model="up/large")
        assert (error.status_code, error.code, error.param) == (403, "model_not_allowed", "model")
        assert (await refused(s, acme, stream=stream, model="other/small")).code == "model_not_allowed"
        assert not s.mock.calls
        s.mock.script(status(503), status(503), text("from the other"))
        assert (await refused(s, acme, stream=stream)).status_code >= 500
        assert len(s.mock.calls) == 1
        assert await said(s, bolt, stream=stream) == "from the other"
        assert [(call.json()["model"], call.key) for call in list(s.mock.calls)[1:]] == [
            ("small", UPSTREAM_KEY),
            ("large", UPSTREAM_KEY),
        ]


@both_ways
@pytest.mark.parametrize(
    ("limit", "check"), [({"max_spend_usd": 0.01}, "spend"), ({"max_tokens": 2, "max_spend_usd": 0}, "tokens")]
)
async def test_what_calls_cost_and_use_counts_when_they_end(stream: bool, limit: dict[str, Any], check: str) -> None:
    async with running({"tenantwall": wall({"id": "acme", **limit}, {"id": "bolt"})}, config=PRICED) as s:
        acme, bolt = await key_of(s, "acme"), await key_of(s, "bolt")
        assert await said(s, acme, "one two three", stream=stream) == "echo: one two three"
        error = await refused(s, acme, stream=stream)
        assert isinstance(error.body, dict)
        assert (error.code, error.body["details"]) == ("client_limit", {"limit": check})
        assert await said(s, bolt, stream=stream) == "echo: hi"
        (shown,) = [row for row in s.module("tenantwall").report()["clients"] if row["id"] == "acme"]
        assert (shown["requests"], shown["running"]) == (1, 0)
        assert shown["tokens"] > 2 and shown["spend_usd"] > 0.01


@both_ways
async def test_a_place_at_once_is_held_until_the_answer_has_ended(stream: bool) -> None:
    async with running({"tenantwall": wall({"id": "acme", "concurrency": 1}, {"id": "bolt"})}) as s:
        acme, bolt = await key_of(s, "acme"), await key_of(s, "bolt")
        s.mock.script(chunks(["a", "b", "c"], 0.2) if stream else delay(0.5, "slow"))
        running_call = asyncio.create_task(said(s, acme, stream=stream))
        async with asyncio.timeout(10):
            while not s.mock.calls:
                await asyncio.sleep(0.01)
        error = await refused(s, acme, stream=stream)
        assert isinstance(error.body, dict)
        assert (error.code, error.body["details"]) == ("client_limit", {"limit": "concurrency"})
        assert await said(s, bolt, stream=stream) == "echo: hi"
        await running_call
        async with asyncio.timeout(10):
            while s.instance.chute.in_flight:
                await asyncio.sleep(0.01)
        assert await said(s, acme, stream=stream) == "echo: hi"


@both_ways
@pytest.mark.parametrize("pooled", [False, True])
async def test_a_clients_own_key_goes_before_every_other_and_is_never_shown(stream: bool, pooled: bool) -> None:
    own = [{"provider": "up", "api_key": OWN_KEY}]
    pool = {"keys": [{"name": "shared", "provider": "up", "key": "key-of-the-pool-0001"}]} if pooled else {}
    async with running(
        {
            "tenantwall": wall({"id": "acme", "provider_keys": own}, {"id": "bolt"}),
            "keypool": pool,
            "secretscan": {},
            "circuitbreaker": True,
        }
    ) as s:
        acme, bolt = await key_of(s, "acme"), await key_of(s, "bolt")
        s.mock.script(text(f"the key is {OWN_KEY}"), text("ok"), status(500), text("again"))
        assert OWN_KEY not in await said(s, acme, stream=stream)
        await said(s, bolt, stream=stream)
        assert [call.key for call in s.mock.calls] == [OWN_KEY, "key-of-the-pool-0001" if pooled else UPSTREAM_KEY]
        assert await said(s, acme, stream=stream) == "again"
        assert {call.key for call in list(s.mock.calls)[2:]} == {OWN_KEY}
        assert (await s.recent_traces(1))[0]["attempts"][0]["key_name"] == "client"

        http = s.http(s.admin_key)
        shown = (await http.get("/api/proxy/modules/tenantwall")).json()["config"]
        assert shown["clients"][0]["provider_keys"] == [{"provider": "up", "api_key": "…0001"}]
        shown["clients"].reverse()
        answer = await http.put("/api/proxy/modules/tenantwall", json={"config": {"clients": shown["clients"]}})
        assert answer.status_code == 200, answer.text
        await said(s, acme, stream=stream)
        assert s.mock.calls[-1].key == OWN_KEY
        await s.settled()
        stored = b"".join(path.read_bytes() for path in Path(s.instance.core.data_dir).rglob("*") if path.is_file())
        assert OWN_KEY.encode() not in stored


@both_ways
async def test_a_clients_key_goes_to_its_provider_only(stream: bool) -> None:
    other = '[providers.other]\nbase_url = "{}"\napi_key = "key-of-the-other-01"\nmodels = ["small"]\n'
    own = [{"provider": "up", "api_key": OWN_KEY}]
    pool = {"keys": [{"name": "shared", "provider": "other", "key": "key-of-the-pool-0001"}]}
    modules = {
        "tenantwall": wall({"id": "acme", "provider_keys": own}),
        "fallbackrouter": {"chains": [{"match": "*", "targets": ["other/small"]}]},
        "retry": False,
    }
    async with running(modules, providers=lambda mock: other.format(mock.url)) as s:
        acme = await key_of(s, "acme")
        for key in ("key-of-the-other-01", "key-of-the-pool-0001"):
            s.mock.script(status(503), text("ok"))
            assert await said(s, acme, stream=stream) == "ok"
            assert [call.key for call in list(s.mock.calls)[-2:]] == [OWN_KEY, key]
            await s.configure({"keypool": pool})


@both_ways
async def test_a_client_may_have_settings_of_its_own_for_other_modules(stream: bool) -> None:
    own = {"outputcap": {"max_tokens": 7}, "promptguard": {"mode": "block"}}
    settings = wall({"id": "acme", "overrides": own}, {"id": "bolt"})
    async with running({"tenantwall": settings, "outputcap": {"max_tokens": 50}}) as s:
        acme, bolt = await key_of(s, "acme"), await key_of(s, "bolt")

        async def caps() -> list[Any]:
            for key in (acme, bolt, s.key):
                await said(s, key, stream=stream, max_tokens=1000)
            return [call.json()["max_tokens"] for call in list(s.mock.calls)[-3:]]

        assert await caps() == [7, 50, 50]
        await s.configure({"outputcap": {"max_tokens": 40}})
        assert await caps() == [7, 40, 40]
        mail = "mail ada@example.org"
        assert await said(s, acme, mail, stream=stream, max_tokens=1000) == f"echo: {mail}"  # promptguard is off
        await s.configure({"promptguard": {"mode": "flag"}})
        assert (await refused(s, acme, content=mail, stream=stream)).code == "pii_blocked"
        assert await said(s, bolt, mail, stream=stream) == f"echo: {mail}"
        await s.configure({"outputcap": False})
        assert await caps() == [1000, 1000, 1000]
        await s.configure({"outputcap": {"max_tokens": 40}, "tenantwall": False})
        assert await caps() == [40, 40, 40]
        assert not s.instance.chute.registry.clients


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"nosuch": {}}, "no such module"),
        ({"cachelayer": {}}, "cannot have settings of a client's own"),
        ({"tenantwall": {}}, "cannot have settings of a client's own"),
        ({"outputcap": {"max_tokens": -1}}, "max_tokens"),
        ({"outputcap": {"max_tokns": 1}}, "max_tokens"),
    ],
)
async def test_settings_that_cannot_be_are_refused_when_they_are_saved(overrides: Any, says: str) -> None:
    own = [{"provider": "up", "api_key": OWN_KEY}]
    before = wall({"id": "acme", "models": ["up/small"], "provider_keys": own}, {"id": "bolt"}, header="X-Customer")
    async with running({"tenantwall": before}) as s:
        clients = [{"id": "acme", "max_requests": 3, "overrides": overrides}]
        answer = await s.http(s.admin_key).put("/api/proxy/modules/tenantwall", json={"config": {"clients": clients}})
        assert answer.status_code == 422, answer.text
        assert says in answer.text
        assert answer.json()["error"]["param"].startswith("config.clients.acme.overrides.")
        shown = (await s.http(s.admin_key).get("/api/proxy/modules/tenantwall")).json()["config"]["clients"]
        assert [client["id"] for client in shown] == ["acme", "bolt"]
        front = await key_of(s, multi_client=True)
        named = {"x-customer": "acme"}
        assert [model.id async for model in s.sdk(front).models.list(extra_headers=named)] == ["up/small"]
        s.mock.script(text(f"the key is {OWN_KEY}"))
        assert OWN_KEY not in await said(s, front, extra_headers=named)


@pytest.mark.parametrize(
    "config",
    [
        {"clients": [{"id": "acme"}, {"id": "acme"}]},
        {"clients": [{"id": "*"}]},
        {"clients": [{"id": "a b"}]},
        {"header": "X Client"},
        {"window_s": 0},
        {"default": {"concurrency": -1}},
    ],
)
async def test_settings_have_bounds(config: dict[str, Any]) -> None:
    async with running() as s:
        answer = await s.http(s.admin_key).put(
            "/api/proxy/modules/tenantwall", json={"enabled": True, "config": config}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_value")


@both_ways
async def test_with_its_defaults_it_lets_everybody_through_and_a_clients_key_is_known_by_itself(stream: bool) -> None:
    async with running({"tenantwall": {}}) as s:
        acme = await key_of(s, "acme")
        assert [await said(s, key, stream=stream) for key in (s.key, acme)] == ["echo: hi", "echo: hi"]
        of_client, of_nobody = await s.recent_traces(2)
        assert (of_client["client"], of_nobody["client"]) == ("acme", None)
        assert await s.trail(of_client["id"], "tenantwall") == [("client", {"id": "acme", "check": "passed"})]
        assert await s.trail(of_nobody["id"], "tenantwall") == []


async def test_a_fault_of_its_own_lets_nobody_through() -> None:
    async with running({"tenantwall": wall()}) as s:
        acme = await key_of(s, "acme")
        s.module("tenantwall")._terms["acme"] = "no terms"
        error = await refused(s, acme)
        assert (error.status_code, error.code, len(s.mock.calls)) == (503, "module_failed", 0)


async def test_a_new_setting_keeps_what_was_counted() -> None:
    async with running({"tenantwall": wall({"id": "acme", "max_requests": 2})}) as s:
        acme = await key_of(s, "acme")
        await said(s, acme)
        await s.configure({"tenantwall": wall({"id": "acme", "max_requests": 1})})
        assert (await refused(s, acme)).code == "client_limit"


async def test_an_explained_call_counts_nothing() -> None:
    async with running({"tenantwall": wall({"id": "acme", "max_requests": 1, "models": ["small"]})}) as s:
        acme = await key_of(s, "acme")
        http = s.http(s.admin_key)
        keys = (await http.get("/api/keys", params={"limit": 500})).json()["keys"]
        (number,) = [key["id"] for key in keys if key["client"] == "acme"]
        for model, code in (("up/small", None), ("up/small", None), ("up/large", "model_not_allowed")):
            wanted = {"key_id": number, "path": "/v1/chat/completions", "body": {**s.body(), "model": model}}
            found = (await http.post("/api/proxy/explain", json=wanted)).json()
            assert (found["rejected"] or {}).get("code") == code
        assert await said(s, acme) == "echo: hi"


async def test_traces_of_a_client_go_when_it_wants_them_gone() -> None:
    settings = wall({"id": "acme"}, {"id": "bolt", "retention_days": 0}, default={"retention_days": 1})
    async with running({"tenantwall": settings}) as s:
        for client in ("acme", "bolt", "cole"):
            await said(s, await key_of(s, client))
        await s.settled()
        module = s.module("tenantwall")
        await module.tick()
        assert sorted(trace["client"] for trace in await s.recent_traces(9)) == ["acme", "bolt", "cole"]
        clock = module._clock = TurnedClock()
        clock.ahead_ns = 25 * 3600 * 10**9
        await module.tick()
        assert [trace["client"] for trace in await s.recent_traces(9)] == ["bolt"]


async def test_what_a_client_used_is_shown_with_the_module() -> None:
    async with running({"tenantwall": wall()}) as s:
        await said(s, await key_of(s, "acme"))
        shown = (await s.http(s.admin_key).get("/api/proxy/modules/tenantwall")).json()["report"]
        assert [row["id"] for row in shown["clients"]] == ["acme"]
        assert re.fullmatch(r"\d+", str(shown["window_ends_s"]))
