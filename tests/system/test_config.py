"""Settings over HTTP: shown with their sources, changed whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.opened import Opened, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
client_ip = "truncated"
[providers.local]
base_url = "http://127.0.0.1:9/v1"
api_key = "very-secret-provider-key"
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one() -> AsyncIterator[Opened]:
    async with opened(config=CONFIG) as instance:
        yield instance


async def test_settings_show_value_source_and_whether_a_restart_is_needed(one: Opened) -> None:
    async with one.client() as client:
        answer = await client.get("/api/config")
    config = answer.json()
    assert config["client_ip"] == {"value": "truncated", "source": "file", "restart_needed": True}
    assert config["limits"]["messages"] == {"value": 4096, "source": "default", "restart_needed": True}
    assert config["public_docs"]["restart_needed"] is False
    assert answer.headers["etag"]


async def test_secrets_are_masked(one: Opened) -> None:
    async with one.client() as client:
        text = (await client.get("/api/config")).text
    assert "very-secret" not in text
    assert '"api_key":"********"' in text


async def test_a_change_holds_and_is_in_the_ledger_by_name_only(one: Opened) -> None:
    async with one.client() as client:
        answer = (await client.post("/api/config", json={"metrics_public": True, "limits": {"messages": 99}})).json()
        config = (await client.get("/api/config")).json()
        event = (await client.get("/api/trust/ledger?event_type=config_change&limit=1")).json()["events"][0]
    assert (answer["changed"], answer["restart_needed"]) == (["limits.messages", "metrics_public"], ["limits.messages"])
    assert config["metrics_public"]["value"] is True
    assert config["limits"]["messages"] == {"value": 99, "source": "api", "restart_needed": True}
    assert event["detail"]["fields"] == ["limits.messages", "metrics_public"]
    async with one.client("") as anonymous:
        assert (await anonymous.get("/metrics")).status_code == 200


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"metrics_pblic": True}, "unknown_field", "metrics_pblic"),
        ({"limits": {"messages": 0}}, "invalid_value", "limits.messages"),
        ({"limits": {"messages": 5, "tols": 5}}, "unknown_field", "limits.tols"),
        ({"providers": {"local": {"api_key": "********"}}}, "invalid_value", "providers.local.api_key"),
    ],
)
async def test_a_bad_change_names_the_field_and_changes_nothing(
    one: Opened, change: dict[str, Any], code: str, param: str
) -> None:
    async with one.client() as client:
        before = (await client.get("/api/config")).headers["etag"]
        answer = await client.post("/api/config", json=change)
        after = (await client.get("/api/config")).headers["etag"]
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert (answer.json()["error"]["param"], before) == (param, after)


async def test_a_change_made_from_an_older_state_is_refused(one: Opened) -> None:
    async with one.client() as client:
        seen = (await client.get("/api/config")).headers["etag"]
        assert (await client.post("/api/config", json={"record_timings": True})).status_code == 200
        answer = await client.post("/api/config", json={"record_timings": False}, headers={"if-match": seen})
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "precondition_failed")


async def test_put_replaces_what_the_api_had_set(one: Opened) -> None:
    async with one.client() as client:
        await client.post("/api/config", json={"limits": {"tools": 7}})
        await client.put("/api/config", json={"limits": {"depth": 32}})
        config = (await client.get("/api/config")).json()
    assert config["limits"]["tools"]["source"] == "default"
    assert config["limits"]["depth"] == {"value": 32, "source": "api", "restart_needed": True}


async def test_a_change_survives_a_restart(one: Opened) -> None:
    async with one.client() as client:
        await client.post("/api/config", json={"publish_head": True})
        schema = (await client.get("/api/config/schema")).json()
    stored = await one.core.database.read(
        lambda connection: connection.execute("SELECT value FROM settings WHERE path = 'publish_head'").fetchone()
    )
    assert stored == ("true",)
    assert "limits" in schema["properties"]
