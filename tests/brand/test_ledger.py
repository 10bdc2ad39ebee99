"""The ledger in a real database: what is appended, in which order, and that a changed database is found out."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import orjson
import pytest

from instance.brand import store
from instance.brand.chain import require_canonical
from instance.core.writer import LedgerEvent
from tests.opened import Opened, opened


@pytest.fixture
async def one() -> AsyncIterator[Opened]:
    async with opened() as instance:
        yield instance


async def entries(one: Opened) -> list[dict[str, Any]]:
    await one.folded()
    rows = await one.core.database.read(
        lambda connection: store.entries(connection, store.LedgerFilter(), limit=100, ascending=True)
    )
    return [store.entry_of(row) for row in rows]


async def append(one: Opened, **detail: Any) -> None:
    await one.core.writer.write(lambda _: None, [LedgerEvent("admin_action", "system", "here", "do", detail)])


async def test_a_call_becomes_one_entry_with_its_trace_actor_and_detail(one: Opened) -> None:
    trace_id = one.record(key_id="3", provider="openai", model="gpt-4o", tokens_in=5)
    (entry,) = await entries(one)
    assert (entry["event_type"], entry["actor"], entry["resource"]) == ("proxy_request", "key:3", "openai/gpt-4o")
    assert (entry["trace_id"], entry["detail"]["tokens_in"]) == (trace_id, 5)


async def test_a_call_without_a_known_key_is_anonymous(one: Opened) -> None:
    one.record(key_id="", provider="", model_requested="nope")
    (entry,) = await entries(one)
    assert (entry["actor"], entry["resource"]) == ("anonymous", "nope")


async def test_calls_and_writes_are_chained_in_the_order_in_which_they_came(one: Opened) -> None:
    first = one.record()
    await one.folded()
    await append(one, n=1)
    second = one.record()
    found = await entries(one)
    assert [entry["trace_id"] for entry in found] == [first, None, second]
    assert (await one.instance.brand.verifier.verify())["valid"]


async def test_a_journalled_event_keeps_its_own_time(one: Opened) -> None:
    event = {
        "event_type": "safety_block",
        "actor": "system",
        "resource": "secretscan",
        "action": "block",
        "detail": {"hits": 1},
        "trace_id": None,
        "created_at_ns": 1_767_225_600_000_001_000,
    }
    one.core.journal.append(2, orjson.dumps(event))
    (entry,) = await entries(one)
    assert (entry["created_at"], entry["detail"]) == ("2026-01-01T00:00:00.000001Z", {"hits": 1})


async def test_a_detail_that_jcs_cannot_hold_is_kept_as_text(one: Opened) -> None:
    await append(one, limit_usd=0.5, größe=2**70, nested={"list": [1.5, "x"]})
    (entry,) = await entries(one)
    require_canonical(entry["detail"])
    assert entry["detail"]["limit_usd"] == "0.5"
    assert entry["detail"]["nested"] == {"list": ["1.5", "x"]}
    assert (await one.instance.brand.verifier.verify())["valid"]


async def test_an_oversized_detail_is_replaced_by_its_digest(one: Opened) -> None:
    await append(one, text="x" * 100_000)
    (entry,) = await entries(one)
    assert entry["detail"].keys() == {"detail_bytes", "detail_sha256"}


async def test_a_write_that_fails_leaves_no_entry(one: Opened) -> None:
    def fail(_: sqlite3.Connection) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await one.core.writer.write(fail, [LedgerEvent("admin_action", "system", "here", "do", {})])
    assert await entries(one) == []


async def tampered(one: Opened, statement: str) -> dict[str, Any]:
    """The verification's result after somebody changed the database behind our back."""
    for _ in range(6):
        one.record()
    await one.folded()
    with closing(sqlite3.connect(one.core.database.path, isolation_level=None)) as connection:
        connection.execute(statement)
    return await one.instance.brand.verifier.verify()


@pytest.mark.parametrize(
    ("statement", "broken_at", "reason"),
    [
        ("UPDATE ledger SET detail = replace(detail, 'ok', 'no') WHERE seq = 3", 3, "hash_mismatch"),
        ("UPDATE ledger SET actor = 'key:99' WHERE seq = 4", 4, "hash_mismatch"),
        ("UPDATE ledger SET prev_hash = zeroblob(32) WHERE seq = 5", 5, "prev_mismatch"),
        ("DELETE FROM ledger WHERE seq = 2", 2, "gap"),
        ("DELETE FROM ledger WHERE seq = 1", 1, "gap"),
        ("DELETE FROM ledger WHERE seq >= 5", 5, "gap"),
        ("DELETE FROM ledger", 1, "gap"),
    ],
)
async def test_what_was_done_to_the_table_is_found_at_its_entry(
    one: Opened, statement: str, broken_at: int, reason: str
) -> None:
    result = await tampered(one, statement)
    assert (result["valid"], result["broken_at_id"], result["reason"]) == (False, broken_at, reason)


async def test_entries_that_follow_a_dropped_end_do_not_hide_it(one: Opened) -> None:
    await tampered(one, "DELETE FROM ledger WHERE seq >= 5")
    one.record()
    await one.folded()
    result = await one.instance.brand.verifier.verify()
    assert (result["broken_at_id"], result["reason"]) == (5, "gap")


async def test_a_walk_over_many_entries_goes_in_slices_and_checks_each_once(one: Opened) -> None:
    for _ in range(950):
        one.record()
    await one.folded()
    result = await one.instance.brand.verifier.verify()
    assert (result["valid"], result["events_checked"], result["head"]["seq"]) == (True, 950, 950)


async def test_a_part_of_the_ledger_is_verified_by_itself(one: Opened) -> None:
    for _ in range(9):
        one.record()
    await one.folded()
    result = await one.instance.brand.verifier.verify(4, 6)
    assert (result["valid"], result["events_checked"], result["first_seq"], result["head"]["seq"]) == (True, 3, 4, 6)
