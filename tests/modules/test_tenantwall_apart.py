"""What one client leaves behind and another never meets: answers, sessions, memory, files, traces, keys. Most callers here
have one key for many clients, so that only the client tells them apart."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from instance.system.client_wall import WITHIN
from tests.mock_replies import text
from tests.modules.clients import HEADER, key_of, said
from tests.modules.conftest import running
from tests.modules.test_imageproxy import images

WALL = {"clients": [{"id": "acme"}, {"id": "bolt"}]}
both_ways = pytest.mark.parametrize("stream", [False, True])
READS = ("observe:read", "billing:read", "memory:write", "forge:run", "forge:read", "trust:read", "content:read")
ACME, BOLT = {HEADER: "acme"}, {HEADER: "bolt"}


def of(client: str, **headers: str) -> dict[str, Any]:
    return {"extra_headers": {HEADER: client, **headers}}


@both_ways
@pytest.mark.parametrize("scope", ["global", "team", "key", "user"])
@pytest.mark.parametrize("module", ["cachelayer", "semanticcache"])
async def test_kept_answers(module: str, scope: str, stream: bool) -> None:
    async with running({"tenantwall": WALL, module: {"scope": scope}}) as s:
        front = await key_of(s, multi_client=True)
        s.mock.script(text("for acme"), text("for bolt"), text("for nobody"))
        question = "What is the capital of France?"
        callers: list[dict[str, Any]] = [of("acme"), of("bolt"), {}]
        first = [await said(s, front, question, stream=stream, **caller) for caller in callers]
        again = [await said(s, front, question, stream=not stream, **caller) for caller in callers]
        assert first == again == ["for acme", "for bolt", "for nobody"]
        assert len(s.mock.calls) == 3


async def test_calls_that_wait_for_one_answer() -> None:
    async with running({"tenantwall": WALL, "cachelayer": {"scope": "global"}}) as s:
        front = await key_of(s, multi_client=True)
        await asyncio.gather(*[said(s, front, **of(client)) for client in ("acme", "bolt", "acme", "bolt")])
        assert len(s.mock.calls) == 2


@pytest.mark.parametrize("scope", ["global", "team"])
async def test_vectors(scope: str) -> None:
    async with running({"tenantwall": WALL, "embedcache": {"scope": scope}}) as s:
        front = await key_of(s, multi_client=True)
        for client in ("acme", "bolt", "acme", "bolt"):
            await s.sdk(front).embeddings.create(model=s.model, input="the same", **of(client))
        assert len(s.mock.calls) == 2


async def test_images() -> None:
    async with running({"tenantwall": WALL, "imageproxy": {"cache": True}}, providers=images) as s:
        front = await key_of(s, multi_client=True)
        for client in ("acme", "bolt", "acme", "bolt"):
            await s.sdk(front).images.generate(model="img/dall-e-3", prompt="a cow", **of(client))
        assert len([call for call in s.mock.calls if call.method == "POST"]) == 2


@both_ways
async def test_memory(stream: bool) -> None:
    async with running({"tenantwall": WALL, "chatmem": {}}) as s:
        front = await key_of(s, multi_client=True)
        session = {"x-stockyard-session": "s1"}
        await said(s, front, "My name is Ada.", stream=stream, **of("acme", **session))
        await said(s, front, "What is my name?", stream=stream, **of("bolt", **session))
        assert len(s.mock.calls[-1].json()["messages"]) == 1
        await said(s, front, "What is my name?", stream=stream, **of("acme", **session))
        assert [message["content"] for message in s.mock.calls[-1].json()["messages"]] == [
            "My name is Ada.",
            "echo: My name is Ada.",
            "What is my name?",
        ]
        http = s.http(await key_of(s, "bolt", kind="app", scopes=list(READS)))
        mine = (await http.get("/api/memory/sessions")).json()["sessions"]
        assert [row["team_id"] for row in mine] == ["client:bolt"]
        every = (await s.http(s.admin_key).get("/api/memory/sessions")).json()["sessions"]
        (other,) = [row["id"] for row in every if row["team_id"] == "client:acme"]
        assert (await http.get(f"/api/memory/sessions/{other}")).status_code == 404
        assert (await http.delete(f"/api/memory/sessions/{other}")).status_code == 404
        assert (await http.post("/api/memory/forget", json={"session_id": "session:s1"})).json()["sessions"] == 1
        assert (await s.http(s.admin_key).get("/api/memory/sessions")).json()["total"] == 1


async def test_placeholders_of_a_session() -> None:
    async with running({"tenantwall": WALL, "promptguard": {"mode": "restore"}}) as s:
        front = await key_of(s, multi_client=True)
        session = {"x-stockyard-session": "one"}
        await said(s, front, "I am ada@example.org", **of("acme", **session))
        assert await said(s, front, "Who is [EMAIL_1]?", **of("bolt", **session)) == "echo: Who is [EMAIL_1]?"


async def test_stored_responses() -> None:
    async with running({"tenantwall": WALL}) as s:
        front = await key_of(s, multi_client=True)
        made = await s.sdk(front).responses.create(model=s.model, input="I am Ada", **of("acme"))
        asked: dict[str, Any] = {"model": s.model, "input": "who?", "previous_response_id": made.id}
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk(front).responses.create(**asked, **of("bolt"))
        assert caught.value.code == "previous_response_not_found"
        with pytest.raises(openai.NotFoundError):
            await s.sdk(front).responses.retrieve(made.id, **of("bolt"))
        assert (await s.sdk(front).responses.retrieve(made.id, **of("acme"))).id == made.id
        assert "Ada" in str((await s.sdk(front).responses.create(**asked, **of("acme"))) and s.mock.calls[-1].json())


@both_ways
async def test_recorded_answers(stream: bool) -> None:
    async with running({"tenantwall": WALL, "mockllm": {"mode": "record"}}) as s:
        front = await key_of(s, multi_client=True)
        s.mock.script(text("acme's secret"))
        await said(s, front, stream=stream, **of("acme"))
        await s.configure({"mockllm": {"mode": "replay"}})
        with pytest.raises(openai.NotFoundError) as caught:
            await said(s, front, stream=stream, **of("bolt"))
        assert caught.value.code == "fixture_missing"
        assert await said(s, front, stream=stream, **of("acme")) == "acme's secret"


async def test_translations() -> None:
    german = "Wie lange dauert die Rückgabe meiner letzten Bestellung?"
    async with running({"tenantwall": WALL, "langbridge": {"mode": "translate"}}) as s:
        front = await key_of(s, multi_client=True)
        for client, fresh in (("acme", True), ("bolt", True), ("bolt", False)):
            before = len(s.mock.calls)
            s.mock.script(*([text("How long does it take?")] if fresh else []), text("42."))
            await said(s, front, german, **of(client))
            sent = [call.json()["messages"][-1]["content"] for call in list(s.mock.calls)[before:]]
            assert (german in sent) is fresh


async def test_prompts_that_are_tagged_for_a_client() -> None:
    prompt = {"model": "up/small", "messages": [{"role": "user", "content": "The plan of acme."}]}
    async with running({"tenantwall": WALL}) as s:
        http = s.http(s.admin_key)
        for slug, tags in (("plan", ["client:acme"]), ("shared", ["x"])):
            answer = await http.post("/api/studio/templates", json={**prompt, "slug": slug, "tags": tags})
            assert answer.status_code == 201, answer.text
        front = await key_of(s, multi_client=True)
        for more in (of("bolt"), {}):
            with pytest.raises(openai.NotFoundError) as caught:
                await said(s, front, model="prompt:plan", messages=[], **more)
            assert caught.value.code == "prompt_not_found"
            assert await said(s, front, model="prompt:shared", messages=[], **more) == "echo: The plan of acme."
        assert await said(s, front, model="prompt:plan", messages=[], **of("acme")) == "echo: The plan of acme."


@pytest.mark.parametrize("many", [False, True])
async def test_queued_calls(many: bool) -> None:
    own = [{"provider": "up", "api_key": "acme-own-key-at-up-0001"}]
    clients = [{"id": "acme", "models": ["small"], "provider_keys": own, "max_requests": 1}, {"id": "bolt"}]
    async with running({"tenantwall": {"clients": clients}, "batchqueue": True}) as s:
        made: dict[str, Any] = {"kind": "app", "scopes": [*READS, "proxy:call"]}
        if many:
            key = other = await key_of(s, multi_client=True, **made)
        else:
            key, other = await key_of(s, "acme", **made), await key_of(s, "bolt", **made)
        lines = [{"custom_id": model, "body": {**s.body(), "model": f"up/{model}"}} for model in ("small", "large")]
        http = s.http(key)
        batch = (await http.post("/api/forge/batch", json={"requests": lines}, headers=ACME)).json()["id"]
        async with asyncio.timeout(20):
            while not (shown := (await http.get(f"/api/forge/batch/{batch}", headers=ACME)).json())["completed_at"]:
                await asyncio.sleep(0.02)
        assert (shown["done"], shown["failed"]) == (1, 1)
        assert [(call.json()["model"], call.key) for call in s.mock.calls] == [("small", "acme-own-key-at-up-0001")]
        assert {trace["client"] for trace in await s.recent_traces(5)} == {"acme"}

        theirs = s.http(other)
        assert (await theirs.get(f"/api/forge/batch/{batch}", headers=BOLT)).status_code == 404
        assert (await theirs.get(f"/api/forge/batch/{batch}/results", headers=BOLT)).status_code == 404
        assert (await theirs.delete(f"/api/forge/batch/{batch}", headers=BOLT)).status_code == 404
        assert (await theirs.get("/api/forge/batch", headers=BOLT)).json()["jobs"] == []
        assert len((await http.get("/api/forge/batch", headers=ACME)).json()["jobs"]) == 1


@pytest.mark.parametrize("kind", ["app", "admin"])
async def test_traces_costs_and_usage(kind: str) -> None:
    priced = '[prices."up/small"]\nin_usd_per_mtok = 1000000\nout_usd_per_mtok = 1000000\n'
    async with running({"tenantwall": WALL, "streamsnap": {"capture": True}}, config=priced) as s:
        traces = {}
        for client in ("acme", "bolt"):
            key = await key_of(s, client)
            await said(s, key, f"a question of {client}", stream=True)
            await said(s, key, f"another of {client}")
            traces[client] = [trace["id"] for trace in await s.recent_traces(2)]
        assert await said(s, s.key) == "echo: hi"
        await s.settled()
        http = s.http(await key_of(s, "bolt", kind=kind, scopes=list(READS) if kind == "app" else []))

        listed = (await http.get("/api/observe/traces")).json()["traces"]
        assert sorted(row["id"] for row in listed) == sorted(traces["bolt"])
        assert (await http.get("/api/observe/traces", params={"client": "acme"})).json()["traces"] == []
        assert (await http.get("/api/observe/traces", params={"team": "client:acme"})).json()["traces"] == []
        for ident in traces["acme"]:
            assert (await http.get(f"/api/observe/traces/{ident}")).status_code == 404
            assert (await http.get(f"/api/observe/traces/{ident}/stream")).status_code == 404
        assert (await http.get(f"/api/observe/traces/{traces['bolt'][0]}")).json()["client"] == "bolt"
        overview = (await http.get("/api/observe/overview")).json()
        assert (overview["total_requests"], overview["total_traces"], overview["active_alerts"]) == (2, 2, 0)
        costs = (await http.get("/api/observe/costs", params={"group_by": "team"})).json()
        assert [row["team"] for row in costs["breakdown"]] == ["client:bolt"]
        assert sum(day["requests"] for day in (await http.get("/api/observe/costs/daily")).json()["daily"]) == 2
        usage = await http.get("/api/billing/usage", params={"group_by": "team"})
        assert [row["team"] for row in usage.json()["usage"]] == ["client:bolt"]
        assert (await http.get("/api/billing/usage", params={"group_by": "key"})).status_code == 403

        mine = (await s.http(s.admin_key).get("/api/observe/traces", params={"client": "acme"})).json()["traces"]
        assert sorted(row["id"] for row in mine) == sorted(traces["acme"])


async def test_feedback() -> None:
    async with running({"tenantwall": WALL}) as s:
        await said(s, await key_of(s, "acme"))
        (trace,) = await s.recent_traces(1)
        bolt = s.http(await key_of(s, "bolt", kind="admin"))
        answer = await bolt.post("/api/trust/feedback", json={"trace_id": trace["id"], "rating": 1})
        assert answer.status_code == 404
        acme = s.http(await key_of(s, "acme", kind="admin"))
        answer = await acme.post("/api/trust/feedback", json={"trace_id": trace["id"], "rating": 1})
        assert answer.status_code == 201, answer.text
        counts = [len((await http.get("/api/trust/feedback")).json()["feedback"]) for http in (acme, bolt)]
        assert counts == [1, 0]


async def test_the_rest_of_the_api_is_not_for_a_clients_admin() -> None:
    async with running({"tenantwall": WALL}) as s:
        operator = s.http(s.admin_key)
        paths = (await operator.get("/api/openapi.json")).json()["paths"]
        known = {(method.upper(), path) for path, methods in paths.items() for method in methods}
        assert known >= WITHIN
        for key in (await key_of(s, "bolt", kind="admin"), await key_of(s, kind="admin", multi_client=True)):
            http, reached = s.http(key), []
            for method, path in sorted(known - WITHIN):
                if not path.startswith("/api/") or path.startswith("/api/instance/"):
                    continue
                filled = path.replace("{", "").replace("}", "")
                answer = await http.request(method, filled, json=None if method == "GET" else {})
                if answer.status_code != 403 or answer.json()["error"]["code"] != "forbidden":
                    reached.append((method, path, answer.status_code))
            assert [row for row in reached if row[:2] not in OPEN] == []
            assert (await http.get("/metrics")).status_code == 403
        assert (await operator.get("/api/proxy/modules/tenantwall")).json()["enabled"] is True


OPEN = {
    ("GET", "/api/health"),
    ("GET", "/api/version"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/apps"),
    ("GET", "/api/products"),
    ("GET", "/api/products/{slug}"),
    ("GET", "/api/proxy/images/{link}"),
}
"""Public, and the same for everybody."""


async def test_keys() -> None:
    async with running({"tenantwall": WALL}) as s:
        await key_of(s, "acme")
        admin = await key_of(s, "bolt", kind="admin")
        http, operator = s.http(admin), s.http(s.admin_key)
        every = (await operator.get("/api/keys", params={"limit": 500})).json()["keys"]
        others = [key["id"] for key in every if key["client"] != "bolt"]
        assert len(others) >= 3
        for path in ("/api/keys", "/api/auth/me/keys"):
            assert {key["client"] for key in (await http.get(path)).json()["keys"]} == {"bolt"}
        for ident in others:
            assert (await http.get(f"/api/keys/{ident}")).status_code == 404
            assert (await http.delete(f"/api/keys/{ident}")).status_code == 404
            assert (await http.delete(f"/api/auth/me/keys/{ident}")).status_code == 404
            assert (await http.post(f"/api/auth/me/keys/{ident}/rotate", json={})).status_code == 404
        made = (await http.post("/api/auth/me/keys", json={"name": "more"})).json()
        assert (made["client"], made["multi_client"], made["team_id"]) == ("bolt", False, "client:bolt")
        for wanted in ({"client": "acme"}, {"multi_client": True}):
            answer = await http.post("/api/auth/me/keys", json={"name": "x", **wanted})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
        rotated = (await http.post(f"/api/auth/me/keys/{made['id']}/rotate", json={})).json()["new_key"]
        assert rotated["client"] == "bolt"


async def test_nobody_gets_through_a_wall_by_a_label_or_a_key_of_its_own_making() -> None:
    async with running({"tenantwall": WALL}) as s:
        for name in ("x-stockyard-team", "x-team"):
            answer = await s.chat(headers={name: "client:acme"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
        (refused,) = await s.recent_traces(1)
        assert (refused["client"], refused["team_id"]) == (None, None)
        for key in (s.key, s.admin_key):
            answer = await s.http(key).post("/api/auth/me/keys", json={"name": "x", "team_id": "client:acme"})
            assert answer.json()["error"]["code"] == "invalid_value"
        answer = await s.http(s.key).post("/api/auth/me/keys", json={"name": "x", "client": "acme"})
        assert answer.json()["error"]["code"] == "scope_missing"
        for client in ("*", "a b", "", "a/b"):
            answer = await s.http(s.admin_key).post("/api/auth/me/keys", json={"name": "x", "client": client})
            assert answer.status_code == 422, answer.text
        answer = await s.http(s.admin_key).post(
            "/api/auth/me/keys", json={"name": "x", "client": "acme", "multi_client": True}
        )
        assert answer.status_code == 422


async def test_a_clients_admin_does_not_count_as_an_admin_of_the_instance() -> None:
    async with running({"tenantwall": WALL}) as s:
        await key_of(s, "acme", kind="admin")
        operator = s.http(s.admin_key)
        (own,) = [
            key["id"]
            for key in (await operator.get("/api/keys", params={"limit": 500})).json()["keys"]
            if key["kind"] == "admin" and not key["client"]
        ]
        answer = await operator.delete(f"/api/keys/{own}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "last_admin_key")


async def test_an_answer_that_is_given_again_for_an_idempotency_key() -> None:
    async with running({"tenantwall": WALL, "batchqueue": True}) as s:
        http = s.http(await key_of(s, kind="admin", multi_client=True))
        made = []
        for client in ("acme", "bolt", "acme"):
            headers = {HEADER: client, "idempotency-key": "the-same"}
            answer = await http.post("/api/forge/batch", json={"input": s.body()}, headers=headers)
            assert answer.status_code == 202, answer.text
            made.append(answer.json()["id"])
        assert made[0] == made[2] != made[1]
