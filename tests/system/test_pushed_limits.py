"""Each limit that the control plane pushes for a key or a plan, as its caller meets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.opened import Opened, opened
from tests.system.test_control import CALL, KEY, OTHER_KEY, ask, pushed_key, state

APP_KEY = "sy_" + "c" * 43


@pytest.fixture
async def one() -> AsyncIterator[Opened]:
    async with opened(hosted=True) as instance:
        yield instance


async def push(one: Opened, number: int, *keys: dict[str, Any], **more: Any) -> None:
    assert (await ask(one, "PUT", "state", state(number, *keys, **more))).status_code == 200


def limited(**limits: Any) -> dict[str, Any]:
    return pushed_key(KEY, 1, limits=limits)


async def refusal(one: Opened, key: str = KEY, model: str = "mock/gpt", **headers: str) -> tuple[int, str]:
    """The status of a call, and the code of its refusal."""
    async with one.client(key, **headers) as client:
        return _refusal(await client.post("/v1/chat/completions", json={**CALL, "model": model}))


def _refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, "" if answer.status_code == 200 else answer.json()["error"]["code"]


async def test_models(one: Opened) -> None:
    await push(one, 1, limited(models=["mock/*-small"]))
    assert await refusal(one) == (403, "forbidden")
    await push(one, 2, limited(models=["mock/*"]))
    assert await refusal(one) == (200, "")


async def test_addresses_as_the_edge_reports_them(one: Opened) -> None:
    """By path `/v1` and in the apps: the edge stands between, so the peer's own address says nothing."""
    app = pushed_key(APP_KEY, 2, kind="app", scopes=["observe:read"], limits={"ip_allow": ["192.0.2.0/24"]})
    await push(one, 1, limited(ip_allow=["192.0.2.0/24"]), app)
    transport = httpx2.ASGITransport(app=one.instance.gateway, client=None)  # type: ignore[arg-type]
    for key, method, path in ((KEY, "POST", "/v1/chat/completions"), (APP_KEY, "GET", "/api/observe/traces")):
        for address, expected in (("192.0.2.7", (200, "")), ("198.51.100.1", (403, "ip_denied"))):
            headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": address}
            async with httpx2.AsyncClient(transport=transport, base_url="http://instance", headers=headers) as client:
                body = CALL if method == "POST" else None
                assert _refusal(await client.request(method, path, json=body)) == expected, (path, address)


async def test_requests_a_minute(one: Opened) -> None:
    await push(one, 1, limited(rpm=2), pushed_key(OTHER_KEY, 2))
    assert [await refusal(one) for _ in range(3)] == [(200, ""), (200, ""), (429, "rate_limited")]
    assert await refusal(one, OTHER_KEY) == (200, "")


async def test_a_budget_of_the_month(one: Opened) -> None:
    await push(one, 1, limited(budget_usd_month=0.000_001))
    one.instance.chute.billing.key_budgets.settle(one.core.keys.principals()[0], 1_000, one.core.clock.wall_ns())
    assert await refusal(one) == (429, "budget_exceeded")
    await push(one, 2, limited(budget_usd_month=1))
    assert await refusal(one) == (200, "")


async def test_scopes(one: Opened) -> None:
    reader = pushed_key(APP_KEY, 2, kind="app", scopes=["observe:read"])
    await push(one, 1, pushed_key(KEY, 1), reader)
    async with one.client(APP_KEY) as client:
        assert _refusal(await client.get("/api/observe/traces")) == (200, "")
        assert _refusal(await client.get("/api/trust/ledger")) == (403, "scope_missing")
    assert await refusal(one, APP_KEY) == (403, "scope_missing")


async def test_expiry(one: Opened) -> None:
    await push(one, 1, pushed_key(KEY, 1, expires_at="2020-01-01T00:00:00Z"))
    assert await refusal(one) == (401, "key_expired")
    await push(one, 2, pushed_key(KEY, 1, expires_at="2200-01-01T00:00:00Z"))
    assert await refusal(one) == (200, "")


async def comes_to(one: Opened, expected: tuple[int, str]) -> None:
    """Wait until calls are answered so: the size is looked at by the writer, a few times a second."""
    async with asyncio.timeout(10):
        while await refusal(one) != expected:
            await asyncio.sleep(0.05)


async def test_at_its_size_limit_calls_are_refused_the_apps_answer_and_a_larger_limit_lets_calls_in(
    one: Opened,
) -> None:
    app = pushed_key(APP_KEY, 2, kind="app", scopes=["observe:read"])
    await push(one, 1, pushed_key(KEY, 1), app)
    assert await refusal(one) == (200, "")
    await push(one, 2, pushed_key(KEY, 1), app, quotas={"max_database_bytes": 4096})
    await comes_to(one, (503, "audit_unavailable"))
    async with one.client(KEY) as client:
        refused = await client.post("/v1/chat/completions", json=CALL)
    assert "max_database_bytes" in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) > 0
    async with one.client(APP_KEY) as client:
        traces = await client.get("/api/observe/traces")
    assert traces.status_code == 200
    assert traces.json()["traces"]
    await push(one, 3, pushed_key(KEY, 1), app, quotas={"max_database_bytes": 10**9})
    await comes_to(one, (200, ""))


async def test_at_its_size_limit_an_instance_recovers_when_traces_are_pruned(one: Opened) -> None:
    await push(one, 1, pushed_key(KEY, 1))
    for _ in range(40):
        one.record(texts=(b"x", b""), detail={"text": "y" * 100_000})
    await one.folded()
    await push(one, 2, pushed_key(KEY, 1), quotas={"max_database_bytes": 2_000_000})
    await comes_to(one, (503, "audit_unavailable"))
    await one.instance.lookout.prune(2**62, 2**62)
    await comes_to(one, (200, ""))
