"""A plan's lease on keys, seen from outside: with the control plane gone an instance stops accepting keys, and takes them again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from control_plane.config import LEASE_LEAST_S
from tests.cloud.service import Service, Tenant, until

pytestmark = pytest.mark.slow


@pytest.fixture
def leased() -> Iterator[Tenant]:
    """A tenant whose plan has the shortest lease."""
    service = Service("process")
    (service.data / "cloud.toml").write_text(f"[plans.pro]\nkey_lease_s = {LEASE_LEAST_S}\n")
    service.start()
    yield service.create("acme")
    service.remove()


def _code(tenant: Tenant) -> str:
    """The code of a call's refusal; empty when it was answered."""
    body = {"model": "mock/gpt", "messages": [{"role": "user", "content": "hi"}]}
    answer = tenant.request("POST", "/v1/chat/completions", tenant.api_key, json=body)
    return "" if answer.status_code == 200 else str(answer.json()["error"]["code"])


def test_without_its_control_plane_an_instance_refuses_keys_after_the_lease_and_takes_them_again(
    leased: Tenant,
) -> None:
    assert _code(leased) == ""
    let_it_come_back = leased.service.freeze_plane()
    try:
        assert _code(leased) == ""
        until(lambda: _code(leased) == "key_lease_expired", "keys are refused", 2 * LEASE_LEAST_S)
    finally:
        let_it_come_back()
    until(lambda: _code(leased) == "", "keys are accepted again")
