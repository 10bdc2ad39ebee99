"""The drill of docs/cloud.md: the control plane's database is lost and brought back, with the commands that it names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import openai
import pytest

from tests.cloud.service import Service

pytestmark = pytest.mark.slow


@pytest.fixture
def own_service() -> Iterator[Service]:
    service = Service("process")
    service.start()
    yield service
    service.remove()


def test_a_lost_control_plane_comes_back_with_its_tenants_and_without_a_key_that_was_revoked_since(
    own_service: Service,
) -> None:
    service = own_service
    acme = service.create("acme")
    doomed = service.cli("keys", "create", "acme", "--name", "doomed")
    assert acme.openai(key=doomed["key"]).models.list().data
    assert service.cli("backup")["revocations_beside"] is True
    time.sleep(1.1)  # the copy's own times have whole seconds
    before = datetime.now(UTC).isoformat(timespec="seconds")
    time.sleep(1.1)
    service.cli("keys", "revoke", "acme", str(doomed["id"]))
    service.cli("backup")
    assert service.stop() == 0
    for suffix in ("", "-wal", "-shm"):
        service.data.joinpath(f"control.db{suffix}").unlink(missing_ok=True)

    done = service.cli("restore", "--at", before)

    assert (done["restored_from"], done["incarnation"], done["tenants"], done["keys_ended"]) == (1, 2, 1, 1)
    service.start()
    acme.becomes("running")
    assert acme.say("still here") == "echo: still here"
    with pytest.raises(openai.AuthenticationError):
        acme.openai(key=doomed["key"]).models.list()
    assert service.cli("ledger", "verify")["valid"]
    assert service.cli("doctor")["ok"]
    assert service.cli("backup")["incarnation"] == 2
