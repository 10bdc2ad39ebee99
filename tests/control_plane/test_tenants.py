"""Tenants through the API: what is desired of one changes, and what was done to it can be read."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.config import Config
from control_plane.domain.tenants import Generation, Status
from tests.control_plane.conftest import Api, error_code


async def _tenant(api: Api, slug: str = "acme") -> dict[str, Any]:
    answer = await api("GET", f"/api/tenants/{slug}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_operator_creates_a_tenant_and_finds_it_in_the_list(api: Api) -> None:
    made = await api("POST", "/api/tenants", {"slug": "acme"})
    assert made.status_code == 201
    assert made.json()["url"] == "http://127.0.0.1:8080/t/acme/v1"
    listed = (await api("GET", "/api/tenants?q=cm&status=provisioning")).json()
    assert ([each["slug"] for each in listed["tenants"]], listed["total"]) == (["acme"], 1)


async def test_a_list_says_how_safe_each_tenants_data_is(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    await api.plane.store.new_epoch("acme", None)
    await api.plane.store.confirm("acme", 1, 3)
    (listed,) = (await api("GET", "/api/tenants")).json()["tenants"]
    assert listed["backup"]["confirmed_at"] == (await _tenant(api))["backup"]["confirmed_at"] is not None
    assert (await api("GET", "/api/tenants?node=elsewhere")).json()["total"] == 0


async def test_a_list_goes_on_from_its_cursor(api: Api) -> None:
    for slug in ("one", "two", "three"):
        await api("POST", "/api/tenants", {"slug": slug})
    first = (await api("GET", "/api/tenants?limit=2")).json()
    second = (await api("GET", f"/api/tenants?limit=2&cursor={first['next_cursor']}")).json()
    slugs = [each["slug"] for each in first["tenants"] + second["tenants"]]
    assert sorted(slugs) == ["one", "three", "two"]
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/api/tenants", {"slug": "acme", "plann": "free"}, 422, "unknown_field"),
        ("/api/tenants", {}, 422, "missing_field"),
        ("/api/tenants", [], 400, "bad_request"),
        ("/api/tenants", {"slug": "acme", "plan": "gold"}, 422, "invalid_value"),
        ("/api/tenants", {"slug": "acme", "account": 99}, 404, "not_found"),
        ("/api/tenants", {"slug": "acme", "from_backup": {"tenant": "nobody"}}, 404, "not_found"),
        ("/api/tenants/nobody/wake", None, 404, "not_found"),
        ("/api/tenants/nobody/suspend", {"why": "x"}, 422, "unknown_field"),
    ],
)
async def test_a_bad_request_is_refused_in_the_one_shape(
    api: Api, path: str, body: object, status: int, code: str
) -> None:
    answer = await api("POST", path, body)
    assert (answer.status_code, error_code(answer)) == (status, code)
    assert {"code", "message", "status", "type", "param", "request_id", "doc"} <= answer.json()["error"].keys()


async def test_sleep_and_wake_change_what_is_desired_and_say_so_in_events(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    slept = await api("POST", "/api/tenants/acme/sleep")
    assert (slept.status_code, slept.json()["desired"]) == (202, "asleep")
    again = (await api("POST", "/api/tenants/acme/sleep")).json()
    assert again["generation"] == slept.json()["generation"]
    await api.plane.store.save_status("acme", Generation(1, 1), status=Status.ASLEEP)
    assert (await api("POST", "/api/tenants/acme/wake")).json()["desired"] == "running"
    events = (await api("GET", "/api/tenants/acme/events")).json()["events"]
    kinds = [event["kind"] for event in events]
    assert kinds == ["tenant.wake", "status", "tenant.sleep", "key.create", "key.create", "tenant.create"]


async def test_a_suspended_tenant_says_why_and_neither_sleeps_nor_wakes(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    suspended = (await api("POST", "/api/tenants/acme/suspend", {"reason": "unpaid"})).json()
    assert (suspended["desired"], suspended["reason"]) == ("suspended", "unpaid")
    for verb in ("sleep", "wake", "restart"):
        refused = await api("POST", f"/api/tenants/acme/{verb}")
        assert error_code(refused) == "conflict"
        assert "unpaid" in refused.json()["error"]["message"]
    resumed = (await api("POST", "/api/tenants/acme/resume")).json()
    assert (resumed["desired"], resumed["reason"]) == ("running", None)


async def test_a_deletion_lists_what_would_go_then_waits_its_grace_and_can_be_taken_back(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    plan = (await api("DELETE", "/api/tenants/acme?dry_run=true")).json()
    assert plan["would_delete"]["keys"] == 2
    assert (await _tenant(api))["desired"] == "running"
    deleted = await api("DELETE", "/api/tenants/acme")
    assert (deleted.status_code, deleted.json()["desired"]) == (202, "deleted")
    assert deleted.json()["delete_after"] > deleted.json()["created_at"]
    assert error_code(await api("POST", "/api/tenants/acme/wake")) == "conflict"
    resumed = (await api("POST", "/api/tenants/acme/resume")).json()
    assert (resumed["desired"], resumed["delete_after"]) == ("running", None)


async def test_settings_and_idle_times_are_a_new_generation(api: Api) -> None:
    before = (await api("POST", "/api/tenants", {"slug": "acme", "plan": "free"})).json()["generation"]["number"]
    body = {"settings": {"record_timings": True}, "idle_nap_s": 5}
    changed = (await api("PUT", "/api/tenants/acme", body)).json()
    assert (changed["settings"], changed["idle_nap_s"]) == ({"record_timings": True}, 5)
    assert changed["generation"]["number"] > before


async def test_another_plan_brings_its_idle_times(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme", "plan": "free"})
    changed = (await api("PUT", "/api/tenants/acme", {"plan": "pro"})).json()
    assert (changed["plan"], changed["idle_nap_s"], changed["idle_sleep_s"]) == ("pro", 1_800, 86_400)


async def test_every_write_is_in_the_ledger_and_the_chain_holds(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    await api("POST", "/api/tenants/acme/suspend", {"reason": "unpaid"})
    entries = (await api("GET", "/api/ledger?resource=tenant:acme")).json()["events"]
    assert [entry["action"] for entry in entries][:1] == ["tenant.suspend"]
    assert {entry["actor"] for entry in entries} == {"operator"}
    verdict = (await api("GET", "/api/ledger/verify")).json()
    assert verdict["valid"]
    assert verdict["head"]["seq"] == verdict["events_checked"]


async def test_a_restore_before_any_backup_is_refused(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    assert error_code(await api("POST", "/api/tenants/acme/restore", {})) == "conflict"
    assert error_code(await api("POST", "/api/tenants/acme/backups/verify")) == "conflict"


async def test_a_restore_is_asked_of_the_loop_with_its_time(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    await api.plane.store.new_epoch("acme", None)
    await api.plane.store.confirm("acme", 1, 3, bytes=10)
    past = await api("POST", "/api/tenants/acme/restore", {"at": "2001-01-01T00:00:00Z"})
    assert error_code(past) == "invalid_value"
    assert error_code(await api("POST", "/api/tenants/acme/restore", {"at": "soon"})) == "invalid_value"
    assert error_code(await api("POST", "/api/tenants/acme/restore", {"epoch": 9})) == "invalid_value"
    asked = await api("POST", "/api/tenants/acme/restore", {"epoch": 1})
    assert (asked.status_code, asked.json()["restore"]) == (202, {"at": None, "epoch": 1})
    backups = (await api("GET", "/api/tenants/acme/backups")).json()
    assert [(life["n"], life["confirmed_txid"], life["bytes"]) for life in backups["epochs"]] == [(1, 3, 10)]
    assert backups["window"]["to"] == backups["epochs"][0]["confirmed_at"]


async def test_a_clone_is_a_new_tenant_with_keys_of_its_own(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    await api.plane.store.new_epoch("acme", None)
    await api.plane.store.confirm("acme", 1, 3)
    cloned = await api("POST", "/api/tenants/acme/restore", {"into": "copy"})
    assert (cloned.status_code, cloned.json()["slug"]) == (202, "copy")
    assert cloned.json()["api_key"].startswith("sk-sy-")
    copy = await api.plane.store.tenant("copy")
    assert copy is not None and copy.restore is not None
    assert copy.restore.source == "acme"


async def test_the_activator_asks_for_a_wake_and_is_told_the_status(api: Api, config: Config) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    await api.plane.store.save_status("acme", Generation(1, 1), status=Status.ASLEEP)
    woken = (await api("POST", "/internal/tenants/acme/wake")).json()
    assert (woken["status"], woken["desired"]) == ("asleep", "running")
    await api.plane.store.save_status("acme", Generation(1, 1), status=Status.RUNNING)
    config.edge_socket("acme").touch()
    assert (await api("POST", "/internal/tenants/acme/wake?wait_s=30")).json()["status"] == "running"
    await api("POST", "/api/tenants/acme/suspend", {"reason": "unpaid"})
    suspended = (await api("POST", "/internal/tenants/acme/wake?wait_s=30")).json()
    assert (suspended["status"], suspended["reason"]) == ("suspended", "unpaid")
    await api("DELETE", "/api/tenants/acme")
    assert (await api("POST", "/internal/tenants/acme/wake")).status_code == 404
