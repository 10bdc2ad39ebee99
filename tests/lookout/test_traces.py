"""Traces: what a recorded call becomes, and how it is found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import time_ns
from typing import Any

import orjson
import pytest
import pytest_asyncio

from instance.core.ids import new_id
from tests.opened import Opened, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_NS = 3600 * 10**9

LISTED = {
    "id",
    "request_id",
    "parent_id",
    "service",
    "operation",
    "source",
    "provider",
    "model",
    "model_requested",
    "status",
    "http_status",
    "stream",
    "duration_ms",
    "ttft_ms",
    "upstream_ms",
    "overhead_us",
    "tokens_in",
    "tokens_out",
    "cost_usd",
    "saved_usd",
    "cache",
    "project",
    "user_id",
    "client",
    "team_id",
    "key_id",
    "key_name",
    "session_id",
    "tags",
    "modules_active",
    "decisions_count",
    "safety_count",
    "created_at",
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one() -> AsyncIterator[Opened]:
    async with opened() as instance:
        yield instance


async def listed(one: Opened, query: str, key: str | None = None) -> list[dict[str, Any]]:
    await one.folded()
    async with one.client(key) as client:
        answer = await client.get(f"/api/observe/traces?{query}")
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["traces"]
    return rows


async def test_a_list_carries_the_documented_fields_and_units(one: Opened) -> None:
    trace_id = one.record(model="units", duration_us=1234, ttft_us=500, upstream_us=1000, cost_nano=1, stream=True)
    (row,) = await listed(one, "model=units")
    assert row.keys() == LISTED
    assert row["id"] == trace_id
    assert (row["duration_ms"], row["ttft_ms"], row["upstream_ms"]) == (1.234, 0.5, 1.0)
    assert (row["cost_usd"], row["stream"], row["parent_id"]) == (1e-09, True, None)


async def test_one_trace_has_its_decisions_attempts_costs_and_ledger_entry(one: Opened) -> None:
    decision = {"module": "promptslim", "hook": "on_request", "action": "slim", "detail": {}, "at_ns": 5, "took_ns": 7}
    attempt = {"n": 1, "provider": "up", "model": "m", "status": 502, "error": "reset"}
    detail = {
        "decisions": [decision],
        "attempts": [attempt],
        "costs": [{"what": "input", "nano": 1500}],
        "tags": {"team": "red"},
        "upstream_excerpt": "oops",
    }
    trace_id = one.record(
        detail=detail, status="error", error_code="provider_error", error_message="no", error_module="retry"
    )
    await one.folded()
    async with one.client() as client:
        trace = (await client.get(f"/api/observe/traces/{trace_id}")).json()
        entry = (await client.get(f"/api/trust/ledger/{trace['ledger_seq']}")).json()
    assert (trace["decisions"], trace["attempts"], trace["tags"]) == ([decision], [attempt], {"team": "red"})
    assert trace["costs"] == [{"what": "input", "usd": 1.5e-06}]
    assert trace["error"] == {
        "code": "provider_error",
        "message": "no",
        "module": "retry",
        "upstream_status": 502,
        "upstream_excerpt": "oops",
    }
    assert entry["trace_id"] == trace_id


async def test_a_request_id_finds_its_newest_trace(one: Opened) -> None:
    one.record(request_id="mine-1")
    newest = one.record(request_id="mine-1")
    await one.folded()
    async with one.client() as client:
        assert (await client.get("/api/observe/traces/mine-1")).json()["id"] == newest
        assert (await client.get("/api/observe/traces/nothing")).status_code == 404


async def test_a_request_id_that_was_made_from_the_traces_id_finds_it(one: Opened) -> None:
    trace_id = new_id("tr_")
    one.record(id=trace_id, request_id=f"req_{trace_id[3:]}")
    named_otherwise = one.record(request_id="mine-2")
    await one.folded()
    async with one.client() as client:
        assert (await client.get(f"/api/observe/traces/req_{trace_id[3:]}")).json()["id"] == trace_id
        assert (await client.get(f"/api/observe/traces/req_{named_otherwise[3:]}")).status_code == 404


@pytest.mark.parametrize("size", [40, 100_000])
async def test_texts_come_back_as_they_were_stored_for_who_may_read_them(one: Opened, size: int) -> None:
    request = {"messages": [{"role": "user", "content": "é" * size}]}
    trace_id = one.record(texts=(orjson.dumps(request), b"not json"))
    await one.folded()
    async with one.client() as admin:
        scopes = {"name": f"reader {size}", "kind": "app", "scopes": ["observe:read"]}
        reader_key = (await admin.post("/api/auth/me/keys", json=scopes)).json()["key"]
        whole = (await admin.get(f"/api/observe/traces/{trace_id}")).json()
    async with one.client(reader_key) as reader:
        redacted = (await reader.get(f"/api/observe/traces/{trace_id}")).json()
    assert (whole["request_body"], whole["response_body"]) == (request, "not json")
    assert (redacted["request_body"], redacted["response_body"], redacted["redacted"]) == (None, None, True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=failed", {"b", "c"}),
        ("status=blocked", {"c"}),
        ("status=ok", {"a", "e"}),
        ("status=cache_hit", {"d"}),
        ("model=m2", {"b"}),
        ("provider=up", {"a", "b"}),
        ("project=side", {"a"}),
        ("user=ann", {"b"}),
        ("key=42", {"c"}),
        ("session=s1", {"a", "b"}),
        ("operation=embedding", {"d"}),
        ("cache=hit", {"d"}),
        ("tag=color:red", {"a"}),
        ("tag=color:red&tag=size:l", set()),
        ("min_ms=50", {"c"}),
        ("min_cost_usd=0.5", {"d"}),
        ("has_safety=true", {"c"}),
        ("has_safety=false&status=failed", {"b"}),
        ("team=blue", {"d"}),
        ("source=demo", {"e"}),
        ("source=real&status=ok", {"a"}),
    ],
)
async def test_a_filter_finds_exactly_what_it_names(filtered: Opened, query: str, found: set[str]) -> None:
    assert {row["request_id"] for row in await listed(filtered, query)} == found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def filtered() -> AsyncIterator[Opened]:
    async with opened() as instance:
        instance.record(
            request_id="a",
            provider="up",
            model="m1",
            project="side",
            session_id="s1",
            detail={"decisions": [], "attempts": [], "costs": [], "tags": {"color": "red"}},
        )
        instance.record(request_id="b", provider="up", model="m2", status="error", user_id="ann", session_id="s1")
        instance.record(request_id="c", status="blocked", key_id="42", duration_us=60_000, safety_count=1)
        instance.record(
            request_id="d", status="cache_hit", cache="hit", operation="embedding", cost_nano=6 * 10**8, team_id="blue"
        )
        instance.record(request_id="e", source="demo", status="ok")
        await instance.folded()
        yield instance


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "status=odd", "tag=x", "cursor=x", "from=yesterday", "modle=x"]
)
async def test_a_bad_parameter_is_refused_and_named(one: Opened, query: str) -> None:
    async with one.client() as client:
        answer = await client.get(f"/api/observe/traces?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, query.split("=")[0])


async def test_the_nearest_name_is_given_for_an_unknown_parameter(one: Opened) -> None:
    async with one.client() as client:
        answer = await client.get("/api/observe/traces?modle=x")
    assert answer.json()["error"]["code"] == "unknown_field"
    assert "'model'" in answer.json()["error"]["message"]


async def test_a_time_far_outside_of_what_can_be_stored_is_no_error(one: Opened) -> None:
    assert await listed(one, "from=2999-01-01") == []
    assert await listed(one, "to=0001-01-01") == []


@pytest.mark.parametrize("sort", ["created_at", "duration_ms", "cost_usd"])
async def test_a_cursor_stays_right_while_rows_arrive(one: Opened, sort: str) -> None:
    made = [one.record(project=f"cursor-{sort}", duration_us=n % 3, cost_nano=n % 2) for n in range(11)]
    await one.folded()
    seen: list[str] = []
    cursor = ""
    async with one.client() as client:
        while True:
            query = f"/api/observe/traces?project=cursor-{sort}&limit=4&order=asc&sort={sort}{cursor}"
            answer = (await client.get(query)).json()
            seen += [row["id"] for row in answer["traces"]]
            if not answer["has_more"]:
                break
            cursor = f"&cursor={answer['next_cursor']}"
            one.record(project=f"cursor-{sort}", duration_us=0, cost_nano=0, created_at_ns=time_ns() - 2 * HOUR_NS)
            await one.folded()
    assert set(made) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_the_key_of_a_team_sees_only_its_team(one: Opened) -> None:
    mine, other = one.record(team_id="red"), one.record(team_id="blue")
    await one.folded()
    async with one.client() as admin:
        wanted = {"name": "red reader", "kind": "app", "scopes": ["observe:read"], "team_id": "red"}
        key = (await admin.post("/api/auth/me/keys", json=wanted)).json()["key"]
    assert {row["id"] for row in await listed(one, "limit=1000", key)} == {mine}
    assert await listed(one, "team=blue", key) == []
    async with one.client(key) as client:
        assert (await client.get(f"/api/observe/traces/{mine}")).status_code == 200
        assert (await client.get(f"/api/observe/traces/{other}")).status_code == 404


async def test_an_absurd_count_of_a_provider_is_recorded_and_stops_nothing(one: Opened) -> None:
    absurd = one.record(tokens_in=2**63, tokens_out=2**63, project="absurd")
    after = one.record(project="absurd")
    rows = await listed(one, "project=absurd")
    assert {row["id"] for row in rows} == {absurd, after}


async def test_retention_removes_old_rows_and_texts_and_keeps_the_ledger(one: Opened) -> None:
    now = time_ns()
    old = one.record(project="old", created_at_ns=now - 50 * HOUR_NS, texts=(b"{}", b"{}"))
    middle = one.record(project="old", created_at_ns=now - 20 * HOUR_NS, texts=(b"{}", b"{}"))
    await one.folded()
    removed = await one.instance.lookout.prune(now - 40 * HOUR_NS, now - 10 * HOUR_NS)
    assert removed == (1, 1)
    assert await one.instance.lookout.prune(now - 40 * HOUR_NS, now - 10 * HOUR_NS) == (0, 0)
    assert [row["id"] for row in await listed(one, "project=old")] == [middle]
    async with one.client() as client:
        assert (await client.get(f"/api/observe/traces/{middle}")).json()["request_body"] is None
        assert (await client.get(f"/api/trust/ledger?trace_id={old}")).json()["total"] == 1
