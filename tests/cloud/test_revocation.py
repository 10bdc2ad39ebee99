"""A revoked key is dead within moments wherever the control plane reaches, whatever its tenant does; keys just made live.

The times are printed (`pytest -s`) and bounded only generously: the promise is one second on a machine with nothing else to do.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from tests.cloud.service import Service, Tenant, until

pytestmark = pytest.mark.slow

CALL = {"model": "mock/gpt", "messages": [{"role": "user", "content": "hi"}]}
BOUND_S = 20.0


@pytest.fixture(scope="module")
def own_service() -> Iterator[Service]:
    service = Service("process")
    service.start()
    yield service
    service.remove()


@pytest.fixture(scope="module")
def tenant(own_service: Service) -> Tenant:
    return own_service.create("acme")


def _make(tenant: Tenant, name: str) -> dict[str, Any]:
    """A key that every place that checks keys has."""
    answer = tenant.service.api("POST", f"/api/tenants/{tenant.slug}/keys?wait=true", json={"name": name})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def _status(tenant: Tenant, key: dict[str, Any]) -> int:
    return tenant.request("POST", "/v1/chat/completions", key["key"], json=CALL).status_code


def _revoke(tenant: Tenant, key: dict[str, Any], what: str) -> None:
    """Revoke it and see it dead; prints how long after the request that was."""
    began = time.monotonic()
    answer = tenant.service.api("DELETE", f"/api/tenants/{tenant.slug}/keys/{key['id']}")
    assert answer.status_code == 200, answer.text
    acknowledged = time.monotonic() - began
    until(lambda: _status(tenant, key) == 401, f"the key is dead: {what}", BOUND_S)
    print(f"\n{what}: acknowledged {acknowledged:.3f} s, refused {time.monotonic() - began:.3f} s after the request")


def test_awake_with_a_running_stream(tenant: Tenant) -> None:
    doomed, kept = _make(tenant, "doomed"), _make(tenant, "kept")
    begun, ended = threading.Event(), threading.Event()
    lines: list[str] = []

    def read() -> None:
        body = {**CALL, "stream": True, "mock": {"tokens": 20_000, "tokens_per_s": 50}}
        headers = {"Authorization": f"Bearer {doomed['key']}"}
        with (
            httpx2.Client(trust_env=False, timeout=60) as client,
            client.stream("POST", f"{tenant.url}/chat/completions", json=body, headers=headers) as answer,
        ):
            for line in answer.iter_lines():
                if line:
                    lines.append(line)
                    begun.set()
        ended.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert begun.wait(BOUND_S)
    began = time.monotonic()
    _revoke(tenant, doomed, "awake")
    assert ended.wait(BOUND_S), "the stream goes on"
    print(f"its stream ended {time.monotonic() - began:.3f} s after the request, or while the key was tried")
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "key_revoked"
    assert _status(tenant, kept) == 200


def test_napping(own_service: Service, tenant: Tenant) -> None:
    doomed, kept = _make(tenant, "doomed"), _make(tenant, "kept")
    assert own_service.api("PUT", "/api/tenants/acme", json={"idle_nap_s": 1}).status_code == 200
    tenant.becomes("napping")
    _revoke(tenant, doomed, "napping")
    assert _status(tenant, kept) == 200
    assert _status(tenant, doomed) == 401
    assert own_service.api("PUT", "/api/tenants/acme", json={"idle_nap_s": 300}).status_code == 200


def test_asleep_where_it_stays_asleep(own_service: Service, tenant: Tenant) -> None:
    doomed, kept = _make(tenant, "doomed"), _make(tenant, "kept")
    own_service.cli("tenants", "sleep", "acme")
    tenant.becomes("asleep")
    _revoke(tenant, doomed, "asleep")
    assert tenant.show()["status"] == "asleep"
    assert _status(tenant, kept) == 200
    assert _status(tenant, doomed) == 401


def test_after_the_restore_of_a_backup_that_is_older_than_the_revocation(own_service: Service, tenant: Tenant) -> None:
    doomed = _make(tenant, "doomed")
    assert _status(tenant, doomed) == 200
    own_service.sync("acme")
    then = datetime.now(UTC).isoformat()
    kept = _make(tenant, "kept")
    _revoke(tenant, doomed, "before a restore")
    own_service.cli("tenants", "restore", "acme", "--at", then)
    assert _status(tenant, doomed) == 401
    assert _status(tenant, kept) == 200


def test_after_the_restore_of_a_control_plane_that_is_older_than_the_revocation(
    own_service: Service, tenant: Tenant
) -> None:
    doomed, kept = _make(tenant, "doomed"), _make(tenant, "kept")
    own_service.cli("backup")
    time.sleep(1.1)  # the copy's own times have whole seconds
    before = datetime.now(UTC).isoformat(timespec="seconds")
    time.sleep(1.1)
    _revoke(tenant, doomed, "before the control plane's own restore")
    own_service.cli("backup")
    assert own_service.stop() == 0
    own_service.cli("restore", "--at", before)
    own_service.start()
    tenant.becomes("running")
    assert _status(tenant, doomed) == 401
    assert _status(tenant, kept) == 200
