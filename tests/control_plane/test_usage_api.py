"""Usage as a customer asks for it: by day, by key, by model, of one tenant and of the account."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tests.control_plane.conftest import Api, error_code


async def _used(api: Api, slug: str, requests: int) -> None:
    """A tenant of this name that was called so often today, with its first key and two models."""
    await api.plane.store.new_epoch(slug, None)
    counters = {"requests": requests, "tokens_in": 10 * requests, "cost_usd": requests / 1000, "bytes_out": requests}
    other = {"requests": 1, "cost_usd": 0.001}
    document = {
        **counters,
        "storage_bytes": 4096,
        "by_key": {"1": {**counters, "last_request_at": "2026-01-01T00:00:00Z"}},
        "by_model": {"gpt-x": {**counters, "requests": requests - 1}, "other": other},
    }
    await api.plane.store.record_usage(slug, 1, document)


async def test_usage_by_day_key_and_model(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    await _used(api, "acme", 5)
    today = datetime.fromtimestamp(time.time(), UTC).date().isoformat()
    found = {}
    for by in ("day", "key", "model"):
        answer = (await api("GET", f"/api/tenants/acme/usage?by={by}&from={today}", key=owner)).json()
        found[by] = [(row.get("key_id") or row.get("model"), row["day"], row["requests"]) for row in answer["usage"]]
        assert answer["total"]["requests"] == 5
    assert found == {
        "day": [(None, today, 5)],
        "key": [(1, today, 5)],
        "model": [("gpt-x", today, 4), ("other", today, 1)],
    }


async def test_an_account_sees_all_its_tenants_and_nobody_elses(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    await api("POST", "/api/tenants", {"slug": "acme-two"}, key=owner)
    await api.sign_up("beta")
    for slug, requests in (("acme", 5), ("acme-two", 3), ("beta", 9)):
        await _used(api, slug, requests)
    answer = (await api("GET", "/api/account/usage?by=model", key=owner)).json()
    assert {row["tenant"] for row in answer["usage"]} == {"acme", "acme-two"}
    assert answer["total"]["requests"] == 8


async def test_a_key_shows_when_it_was_last_used(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    await _used(api, "acme", 5)
    keys = (await api("GET", "/api/tenants/acme/keys", key=owner)).json()["keys"]
    assert {key["id"]: key["last_used_at"] for key in keys} == {1: "2026-01-01T00:00:00.000000Z", 2: None}


async def test_another_way_of_adding_up_is_refused_with_those_there_are(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    refused = await api("GET", "/api/tenants/acme/usage?by=week", key=owner)
    assert (refused.status_code, error_code(refused)) == (422, "invalid_value")
    assert "model" in refused.json()["error"]["message"]
