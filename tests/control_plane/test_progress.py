"""What the API tells of the loop's work on a tenant; the loop itself is a stand-in here."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.config import Config
from control_plane.domain.tenants import Generation, Status
from tests.control_plane.conftest import Api, error_code

SEEN = {"instance": "running", "epoch": 1, "linked": True, "ready": True, "in_flight": 2}


class Loop:
    """Says what a busy loop says."""

    def status(self) -> dict[str, Any]:
        return {"paused": False, "unowned": {"data": ["lost"], "backups": []}}

    def progress(self, slug: str) -> dict[str, Any]:
        way = {"failures": 3, "trouble": "start the instance: no memory", "retry_in_s": 4.0}
        return {"observed": SEEN, "working": False, **way, "queue": {"position": 7, "estimated_s": 2.5}}

    def queue_position(self, slug: str) -> tuple[int, float] | None:
        return (7, 2.5) if slug == "acme" else None

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@pytest.fixture
async def busy(api: Api) -> Api:
    """A plane whose loop works on `acme`."""
    for slug in ("acme", "calm"):
        await api("POST", "/api/tenants", {"slug": slug})
    api.plane.reconciler = Loop()
    return api


async def test_a_tenant_says_what_is_wanted_what_was_seen_and_what_is_in_the_way(busy: Api) -> None:
    told = (await busy("GET", "/api/tenants/acme")).json()
    assert (told["desired"], told["status"], told["observed"]) == ("running", "provisioning", SEEN)
    assert (told["failures"], told["retry_in_s"], told["queue"]["position"]) == (3, 4.0, 7)
    assert told["trouble"] == "start the instance: no memory"


async def test_without_a_loop_nothing_is_known_of_what_was_seen(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    told = (await api("GET", "/api/tenants/acme")).json()
    assert (told["observed"], told["failures"], told["queue"]) == (None, 0, None)


async def test_a_wake_is_answered_with_its_place_in_the_queue(busy: Api, config: Config) -> None:
    woken = (await busy("POST", "/internal/tenants/acme/wake")).json()
    assert woken["queue"] == {"position": 7, "estimated_s": 2.5}
    assert (await busy("POST", "/internal/tenants/calm/wake")).json()["queue"] is None


async def test_what_nobody_owns_is_named(busy: Api) -> None:
    assert (await busy("GET", "/api/reconciler")).json()["unowned"] == {"data": ["lost"], "backups": []}


async def test_the_grace_of_a_deletion_is_the_plans(api: Api) -> None:
    for slug, plan, days in (("small", "free", 7), ("large", "pro", 30)):
        await api("POST", "/api/tenants", {"slug": slug, "plan": plan})
        would = (await api("DELETE", f"/api/tenants/{slug}?dry_run=true")).json()
        assert would["grace_s"] == days * 86_400


async def test_only_the_operator_deletes_by_force_and_then_nothing_brings_it_back(api: Api) -> None:
    customer = await api.sign_up("acme")
    by_customer = await api("DELETE", "/api/tenants/acme?force=true", key=customer["account_key"])
    assert error_code(by_customer) == "forbidden"
    assert (await api("DELETE", "/api/tenants/acme?force=true")).status_code == 202
    assert error_code(await api("POST", "/api/tenants/acme/resume")) == "conflict"
    assert await api.plane.store.begin_purge("acme")


async def test_after_a_purge_keys_and_secrets_are_gone_and_the_ledger_says_so(api: Api) -> None:
    await api("POST", "/api/tenants", {"slug": "acme"})
    await api("DELETE", "/api/tenants/acme?grace_s=0")
    await api.plane.store.save_status("acme", Generation(1, 1), status=Status.DELETED)
    assert await api.plane.store.begin_purge("acme")
    await api.plane.store.purge("acme")
    assert (await api("GET", "/api/tenants/acme")).status_code == 404
    entries = (await api("GET", "/api/ledger?resource=tenant:acme")).json()["events"]
    assert [entry["action"] for entry in entries][:2] == ["tenant.purge", "tenant.purge_begins"]
    await api.plane.snapshot.write()
    assert not api.plane.snapshot.has("acme", Generation(0, 1))
