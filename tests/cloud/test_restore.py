"""Lost volumes come back from their backups, life after life."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest

from tests.cloud.service import Service, Tenant, until

pytestmark = pytest.mark.slow


@pytest.fixture
def phoenix(service: Service, request: pytest.FixtureRequest) -> Tenant:
    return service.create(f"phoenix-{request.node.originalname[-12:].strip('_').replace('_', '-')}")


def _lose_volume(tenant: Tenant) -> None:
    tenant.service.cli("tenants", "sleep", tenant.slug)
    tenant.becomes("asleep")
    shutil.rmtree(tenant.volume)


def _restored_and_whole(tenant: Tenant, before: list[str]) -> None:
    """The ledger verifies and says that it was restored; the traces of before are there."""
    verdict = tenant.ledger_verdict()
    assert verdict["valid"] is True, verdict
    assert tenant.ledger("restore")
    assert set(before) <= {trace["id"] for trace in tenant.traces()}


def test_a_lost_volume_is_restored_by_the_call_that_wakes_twice(phoenix: Tenant) -> None:
    for life in ("first", "second"):
        phoenix.say(life)
        before = [trace["id"] for trace in until(phoenix.traces, "the call is in the traces")]
        _lose_volume(phoenix)
        assert phoenix.say("awake again") == "echo: awake again"
        _restored_and_whole(phoenix, before)
    assert len(phoenix.ledger("restore")) == 2
    epochs = phoenix.service.cli("backups", "list", phoenix.slug)["epochs"]
    assert len(epochs) == 3


def test_a_volume_lost_under_a_running_instance_is_restored_when_it_dies(phoenix: Tenant) -> None:
    phoenix.say("first")
    until(phoenix.traces, "the call is in the traces")
    until(lambda: phoenix.show()["backup"]["confirmed_at"], "a backup is confirmed")
    _lose_volume(phoenix)
    phoenix.service.cli("tenants", "wake", phoenix.slug)
    phoenix.becomes("running")
    _restored_and_whole(phoenix, [])


def test_a_restore_to_a_time_brings_back_what_was_there_then(phoenix: Tenant) -> None:
    phoenix.say("early")
    early = until(phoenix.traces, "the call is in the traces")[-1]["id"]
    phoenix.service.sync(phoenix.slug)
    then = datetime.now(UTC).isoformat()
    until(lambda: datetime.now(UTC).isoformat() > then, "time passes")
    phoenix.say("late")
    late = until(lambda: [each["id"] for each in phoenix.traces() if each["id"] != early], "the second call is there")
    phoenix.service.sync(phoenix.slug)
    phoenix.service.cli("tenants", "restore", phoenix.slug, "--at", then)
    until(lambda: phoenix.ledger("restore"), "it is restored")
    phoenix.becomes("running")
    ids = [each["id"] for each in phoenix.traces()]
    assert early in ids
    assert not set(late) & set(ids)
    assert phoenix.ledger_verdict()["valid"] is True


def test_a_backup_counts_when_it_was_restored_elsewhere(phoenix: Tenant) -> None:
    phoenix.say("to be verified")
    phoenix.service.cli("backups", "verify", phoenix.slug)
    until(lambda: phoenix.show()["backup"]["verified_at"], "the backup is verified")
