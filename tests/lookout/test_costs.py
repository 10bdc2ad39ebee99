"""Costs and the overview, from recorded calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import time_ns

import pytest
import pytest_asyncio

from tests.opened import Opened, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY_NS = 86_400 * 10**9


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one() -> AsyncIterator[Opened]:
    """Two providers; one call of three days ago; one error; one cache hit that saved something."""
    async with opened() as instance:
        now = time_ns()
        instance.record(provider="a", model="m1", cost_nano=3 * 10**9, tokens_in=10, tokens_out=5)
        instance.record(provider="a", model="m2", cost_nano=10**9, tokens_in=1, tokens_out=1, project="side")
        instance.record(provider="b", model="m1", cost_nano=0, status="error", tokens_in=0, tokens_out=0)
        instance.record(provider="b", model="m1", cost_nano=0, status="cache_hit", saved_nano=5 * 10**8, tokens_in=2)
        instance.record(provider="a", model="m1", cost_nano=10**9, created_at_ns=now - 3 * DAY_NS)
        await instance.folded()
        yield instance


async def test_costs_are_the_sum_of_the_calls_by_group_with_their_shares(one: Opened) -> None:
    async with one.client() as client:
        costs = (await client.get("/api/observe/costs?days=30&group_by=model")).json()
    assert (costs["total_usd"], costs["total_requests"], costs["saved_usd"]) == (5.0, 5, 0.5)
    assert [(row["model"], row["cost_usd"], row["share"]) for row in costs["breakdown"]] == [
        ("m1", 4.0, 0.8),
        ("m2", 1.0, 0.2),
    ]
    assert [row["provider"] for row in costs["providers"]] == ["a", "b"]


async def test_two_groups_are_combined(one: Opened) -> None:
    async with one.client() as client:
        costs = (await client.get("/api/observe/costs?days=1&group_by=provider,model")).json()
    assert {(row["provider"], row["model"]): row["requests"] for row in costs["breakdown"]} == {
        ("a", "m1"): 1,
        ("a", "m2"): 1,
        ("b", "m1"): 2,
    }


@pytest.mark.parametrize("group_by", ["colour", "model,model", "model,provider,day", ""])
async def test_an_impossible_grouping_is_refused(one: Opened, group_by: str) -> None:
    async with one.client() as client:
        answer = await client.get(f"/api/observe/costs?group_by={group_by}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "group_by")


async def test_every_day_of_the_period_is_there_also_without_calls(one: Opened) -> None:
    async with one.client() as client:
        daily = (await client.get("/api/observe/costs/daily?days=5")).json()["daily"]
    today = datetime.now(UTC).date()
    assert [row["date"] for row in daily] == [(today - timedelta(days=back)).isoformat() for back in range(4, -1, -1)]
    assert [row["requests"] for row in daily] == [0, 1, 0, 0, 4]
    assert (daily[-1]["cost_usd"], daily[-1]["errors"], daily[-1]["saved_usd"]) == (4.0, 1, 0.5)


async def test_costs_of_one_project_only(one: Opened) -> None:
    async with one.client() as client:
        costs = (await client.get("/api/observe/costs?project=side")).json()
    assert (costs["total_usd"], costs["total_requests"]) == (1.0, 1)


async def test_the_overview_counts_the_period_and_today(one: Opened) -> None:
    async with one.client() as client:
        overview = (await client.get("/api/observe/overview?days=30")).json()
    assert (overview["total_requests"], overview["total_cost_usd"], overview["total_traces"]) == (5, 5.0, 5)
    assert (overview["today"]["requests"], overview["today"]["errors"], overview["today"]["cache_hit_rate"]) == (
        4,
        1,
        0.25,
    )
    assert (overview["today"]["avg_latency_ms"], overview["today"]["p95_latency_ms"]) == (2.5, 2.5)
    assert (overview["top_model"], overview["top_provider"]) == ("m1", "a")


async def test_the_status_says_how_far_the_journal_is_behind(one: Opened) -> None:
    async with one.client() as client:
        status = (await client.get("/api/observe/status")).json()
    assert (status["app"], status["status"], status["traces"], status["journal_bytes"]) == ("observe", "ok", 5, 0)
