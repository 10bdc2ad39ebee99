"""`/api/trust/*` as a caller sees it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from instance.brand.chain import signed_message
from instance.brand.signing import signature_holds
from tests.opened import Opened, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLS = 25


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one() -> AsyncIterator[Opened]:
    """An instance whose ledger holds 25 calls of keys 1 and 2 before anything else."""
    async with opened() as instance:
        for n in range(CALLS):
            instance.record(key_id=str(1 + n % 2), model=f"m{n}")
        await instance.folded()
        yield instance


async def test_the_newest_entries_come_first_with_head_and_total(one: Opened) -> None:
    async with one.client() as client:
        answer = (await client.get("/api/trust/ledger?event_type=proxy_request&limit=10")).json()
    assert [event["seq"] for event in answer["events"]] == list(range(25, 15, -1))
    assert (answer["count"], answer["total"], answer["has_more"]) == (10, CALLS, True)
    assert answer["head"]["seq"] >= CALLS


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_cursor_walks_every_entry_once(one: Opened, order: str) -> None:
    seen: list[int] = []
    cursor = ""
    async with one.client() as client:
        while True:
            query = f"/api/trust/ledger?event_type=proxy_request&limit=7&order={order}{cursor}"
            answer = (await client.get(query)).json()
            seen += [event["seq"] for event in answer["events"]]
            if not answer["has_more"]:
                break
            cursor = f"&cursor={answer['next_cursor']}"
    assert seen == sorted(range(1, CALLS + 1), reverse=order == "desc")


async def test_filters_narrow_the_list(one: Opened) -> None:
    async with one.client() as client:
        by_actor = (await client.get("/api/trust/ledger?actor=key:2&event_type=proxy_request")).json()
        by_seq = (await client.get("/api/trust/ledger?from_seq=3&to_seq=5")).json()
        trace_id = by_seq["events"][0]["trace_id"]
        by_trace = (await client.get(f"/api/trust/ledger?trace_id={trace_id}")).json()
        in_future = (await client.get("/api/trust/ledger?from=2999-01-01")).json()
    assert by_actor["total"] == CALLS // 2
    assert [event["seq"] for event in by_seq["events"]] == [5, 4, 3]
    assert [event["trace_id"] for event in by_trace["events"]] == [trace_id]
    assert (in_future["events"], in_future["total"]) == ([], 0)


async def test_one_entry_shows_the_bytes_that_were_hashed(one: Opened) -> None:
    async with one.client() as client:
        entry = (await client.get("/api/trust/ledger/7")).json()
        missing = await client.get("/api/trust/ledger/999999")
    hashed = bytes.fromhex(entry["proof"]["prev_hash"]) + entry["canonical"].encode()
    assert hashlib.sha256(hashed).hexdigest() == entry["hash"]
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


async def test_the_head_is_signed(one: Opened) -> None:
    async with one.client() as client:
        head = (await client.get("/api/trust/ledger/head")).json()
    assert signature_holds(head["public_key"], head["signature"], signed_message(head["seq"], head["hash"]))
    assert not signature_holds(head["public_key"], head["signature"], signed_message(head["seq"] + 1, head["hash"]))


async def test_the_head_is_public_only_when_it_is_published(one: Opened) -> None:
    async with one.client() as admin, one.client("") as anonymous:
        before = await anonymous.get("/api/trust/ledger/head")
        await admin.post("/api/config", json={"publish_head": True})
        after = await anonymous.get("/api/trust/ledger/head")
        await admin.post("/api/config", json={"publish_head": None})
    assert (before.status_code, after.status_code) == (401, 200)


async def test_an_own_entry_is_appended_durably_and_chained(one: Opened) -> None:
    async with one.client() as client:
        answer = await client.post("/api/trust/ledger", json={"action": "deploy", "actor": "ci", "detail": {"n": 1}})
        made = answer.json()
        read = (await client.get(f"/api/trust/ledger/{made['seq']}")).json()
        verdict = (await client.get("/api/trust/verify")).json()
    assert (answer.status_code, made["status"], made["actor"]) == (201, "appended", "ext:ci")
    assert (read["hash"], read["event_type"]) == (made["hash"], "external")
    assert verdict["valid"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"action": "x", "event_type": "proxy_request"}, "event_type"),
        ({"action": "x", "event_type": "anchor"}, "event_type"),
        ({"action": "x", "detail": {"a": 0.5}}, "detail"),
        ({"action": "x", "detail": {"ä": 1}}, "detail"),
        ({"action": "x", "detail": {"a": "x" * 70_000}}, "detail"),
        ({}, "action"),
        ({"action": "x", "detial": {}}, "detial"),
    ],
)
async def test_an_own_entry_that_cannot_be_is_refused(one: Opened, body: dict[str, object], param: str) -> None:
    async with one.client() as client:
        before = (await client.get("/api/trust/ledger/head")).json()["seq"]
        answer = await client.post("/api/trust/ledger", json=body)
        after = (await client.get("/api/trust/ledger/head")).json()["seq"]
    assert (answer.status_code, answer.json()["error"]["param"], after) == (422, param, before)


async def test_verifications_at_once_share_one_walk(one: Opened) -> None:
    async with one.client() as client:
        answers = await asyncio.gather(*(client.get("/api/trust/ledger/verify") for _ in range(6)))
    results = [answer.json() for answer in answers]
    assert all(result["valid"] for result in results)
    assert len({result["duration_ms"] for result in results}) < len(results)


async def test_csv_has_a_line_for_each_entry(one: Opened) -> None:
    async with one.client() as client:
        answer = await client.get("/api/trust/export?format=csv&event_type=proxy_request")
    lines = answer.text.splitlines()
    assert lines[0].startswith("seq,created_at,event_type")
    assert len(lines) == CALLS + 1


async def test_an_export_ends_at_the_head_that_its_header_names(one: Opened) -> None:
    async with one.client() as client:
        answer = await client.get("/api/trust/export")
    header, *entries = [orjson.loads(line) for line in answer.content.splitlines()]
    assert header["last_seq"] == entries[-1]["seq"] == header["head"]["seq"]
    assert entries[-1]["hash"] == header["head"]["hash"]
    assert "attachment" in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "path",
    ["/api/trust/ledger", "/api/trust/ledger/1", "/api/trust/ledger/head", "/api/trust/verify", "/api/trust/export"],
)
async def test_reading_needs_the_scope(one: Opened, path: str) -> None:
    async with one.client("") as anonymous, one.client(one.proxy_key) as proxy:
        without, wrong = await anonymous.get(path), await proxy.get(path)
    assert (without.status_code, wrong.status_code) == (401, 403)
    assert wrong.json()["error"]["details"] == {"scope": "trust:read"}
