"""A tenant that was deleted: its last backup is verified, and after the grace nothing of it is left on the machine."""

from __future__ import annotations

import pytest

from tests.cloud.service import Service, until

pytestmark = pytest.mark.slow


def test_after_its_grace_data_backups_keys_and_routes_are_gone_and_the_ledger_says_so(service: Service) -> None:
    tenant = service.create("leaver")
    assert tenant.say("before") == "echo: before"
    replicas = service.data / "replicas" / "tenants" / "leaver"
    until(replicas.exists, "its backup began")
    service.cli("tenants", "delete", "leaver", "--yes", "--grace-s", "5")
    until(lambda: service.api("GET", "/api/tenants/leaver").status_code == 404, "it is purged")
    left = [path for path in service.data.rglob("*leaver*") if "logs" not in path.parts]
    assert left == []
    assert tenant.get("/api/observe/traces").status_code == 404
    entries = service.api("GET", "/api/ledger?resource=tenant:leaver&limit=100").json()["events"]
    told = [entry["action"] for entry in reversed(entries)]
    assert told.index("backup.verified") < told.index("epoch.close") < told.index("tenant.purge")
    assert service.api("GET", "/api/ledger/verify").json()["valid"]


def test_one_whose_last_backup_does_not_verify_is_kept_until_it_is_deleted_by_force(service: Service) -> None:
    tenant = service.create("kept")
    assert tenant.say("before") == "echo: before"
    service.cli("tenants", "sleep", "kept")
    tenant.becomes("asleep")
    for path in (service.data / "replicas" / "tenants" / "kept").rglob("*.ltx"):
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 64] = b"\xa5" * len(content[middle : middle + 64])
        path.write_bytes(content)
    service.cli("tenants", "delete", "kept", "--yes", "--grace-s", "0")
    until(lambda: "did not verify" in (tenant.show()["next_action"] or ""), "the purge is held back")
    assert (tenant.volume / "stockyard.db").exists()
    service.cli("tenants", "delete", "kept", "--yes", "--force")
    until(lambda: service.api("GET", "/api/tenants/kept").status_code == 404, "it is purged")
    assert not tenant.volume.exists()
