"""Keys of a tenant: made here, known everywhere, shown once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
from typing import Any

import pytest

from control_plane.config import Config
from control_plane.domain.tenants import Generation, Status
from control_plane.routing.snapshot import Snapshot
from tests.control_plane.conftest import Api, error_code


@pytest.fixture
async def tenant(api: Api) -> dict[str, Any]:
    answer = await api("POST", "/api/tenants", {"slug": "acme"})
    found: dict[str, Any] = answer.json()
    return found


def _digests(config: Config) -> set[str]:
    written = json.loads((config.snapshot_dir / "acme.json").read_text())
    return {key["sha256"] for key in written["keys"]}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


async def test_a_key_has_the_limits_it_was_given(api: Api, tenant: dict[str, Any]) -> None:
    body = {
        "name": "ci",
        "kind": "app",
        "scopes": ["observe:read"],
        "models": ["gpt-*"],
        "ip_allow": ["203.0.113.7", "2001:db8::/32"],
        "rpm": 9,
        "budget_usd_month": 1.5,
        "expires_at": "2100-01-01T00:00:00Z",
    }
    made = (await api("POST", "/api/tenants/acme/keys", body)).json()
    assert made["key"].startswith("sy_")
    shown = (await api("GET", f"/api/tenants/acme/keys/{made['id']}")).json()
    assert "key" not in shown
    kept = {name: shown[name] for name in ("scopes", "models", "rpm", "budget_usd_month")}
    assert kept == {"scopes": ["observe:read"], "models": ["gpt-*"], "rpm": 9, "budget_usd_month": 1.5}
    assert shown["ip_allow"] == ["203.0.113.7/32", "2001:db8::/32"]
    assert shown["prefix"] == f"{made['key'][:12]}…{made['key'][-4:]}"


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "k", "kind": "root"},
        {"name": "k", "scopes": ["observe:read"]},
        {"name": "k", "kind": "app", "scopes": ["admin"]},
        {"name": "k", "kind": "app", "scopes": ["observe:red"]},
        {"name": "k", "ip_allow": ["here"]},
        {"name": "k", "rpm": 0},
        {"name": "k", "budget_usd_month": -1},
        {"name": "k", "expires_at": "tomorrow"},
    ],
)
async def test_a_bad_key_is_refused(api: Api, tenant: dict[str, Any], body: dict[str, Any]) -> None:
    answer = await api("POST", "/api/tenants/acme/keys", body)
    assert (answer.status_code, error_code(answer)) == (422, "invalid_value")


async def test_the_activators_snapshot_has_a_new_key_and_loses_a_revoked_one(
    api: Api, tenant: dict[str, Any], config: Config
) -> None:
    made = (await api("POST", "/api/tenants/acme/keys?wait=true", {"name": "k"})).json()
    assert made["effective"]
    assert _digests(config) >= {_digest(made["key"]), _digest(tenant["api_key"])}
    assert stat.S_IMODE((config.snapshot_dir / "acme.json").stat().st_mode) == 0o600
    revoked = (await api("DELETE", f"/api/tenants/acme/keys/{made['id']}?wait=true")).json()
    assert (revoked["status"], revoked["state"], revoked["effective"]) == ("revoked", "revoked", True)
    assert _digest(made["key"]) not in _digests(config)


async def test_the_activator_understands_the_snapshot(api: Api, tenant: dict[str, Any], config: Config) -> None:
    body = {"name": "short", "expires_at": "2100-01-01T00:00:00Z"}
    expiring = (await api("POST", "/api/tenants/acme/keys?wait=true", body)).json()["key"]
    view = Snapshot(config.snapshot_dir).tenant("acme")
    assert view is not None
    assert view.admits([tenant["api_key"]], 0)
    assert view.admits([expiring], 0)
    assert not view.admits([expiring], 4_102_444_800)
    assert not view.admits(["sk-sy-somebody-elses"], 0)


async def test_waiting_for_a_key_ends_when_the_routed_instance_has_it(
    api: Api, tenant: dict[str, Any], config: Config
) -> None:
    config.edge_socket("acme").touch()
    await api.plane.store.save_status("acme", Generation(1, 1), status=Status.RUNNING)
    waiting = asyncio.create_task(api("POST", "/api/tenants/acme/keys?wait=true", {"name": "k"}))
    while not (wanted := await api.plane.store.tenant("acme")) or wanted.generation.number < 4:
        await api.plane.database.changed.wait(api.plane.database.changed.count, 5)
    assert not waiting.done()
    await api.plane.store.save_status("acme", wanted.generation, status=Status.RUNNING, applied=wanted.generation)
    assert (await waiting).json()["effective"]


async def test_a_rotated_key_overlaps_with_its_successor(api: Api, tenant: dict[str, Any], config: Config) -> None:
    made = (await api("POST", "/api/tenants/acme/keys", {"name": "k", "rpm": 4})).json()
    rotated = await api("POST", f"/api/tenants/acme/keys/{made['id']}/rotate?wait=true", {"overlap_s": 60})
    assert (rotated.status_code, rotated.json()["rpm"]) == (201, 4)
    assert _digests(config) >= {_digest(made["key"]), _digest(rotated.json()["key"])}
    old = (await api("GET", f"/api/tenants/acme/keys/{made['id']}")).json()
    assert old["expires_at"] is not None
    await api("DELETE", f"/api/tenants/acme/keys/{made['id']}")
    again = await api("POST", f"/api/tenants/acme/keys/{made['id']}/rotate")
    assert error_code(again) == "conflict"


async def test_changing_a_key_keeps_what_is_left_out_and_null_removes_a_limit(api: Api, tenant: dict[str, Any]) -> None:
    made = (await api("POST", "/api/tenants/acme/keys", {"name": "k", "rpm": 4, "models": ["a"]})).json()
    path = f"/api/tenants/acme/keys/{made['id']}"
    changed = (await api("PUT", path, {"name": "renamed"})).json()
    assert (changed["name"], changed["rpm"], changed["models"]) == ("renamed", 4, ["a"])
    assert (await api("PUT", path, {"rpm": None})).json()["rpm"] is None
    unchanged = (await api("PUT", path, {})).json()
    assert unchanged["generation"] == (await api("PUT", path, {})).json()["generation"]


async def test_every_change_of_a_key_is_a_new_generation_and_an_event(api: Api, tenant: dict[str, Any]) -> None:
    made = (await api("POST", "/api/tenants/acme/keys", {"name": "k"})).json()
    revoked = (await api("DELETE", f"/api/tenants/acme/keys/{made['id']}")).json()
    assert revoked["generation"]["number"] == made["generation"]["number"] + 1
    again = (await api("DELETE", f"/api/tenants/acme/keys/{made['id']}")).json()
    assert again["generation"] == revoked["generation"]
    events = (await api("GET", "/api/tenants/acme/events?limit=2")).json()["events"]
    assert [event["kind"] for event in events] == ["key.revoke", "key.create"]
