"""A tenant at its plan's size: refused by a code that says so, and well again as soon as it may be larger."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import openai
import pytest

from tests.cloud.service import Service, Tenant, until

pytestmark = pytest.mark.slow
LIMIT_BYTES = 1 << 20
PLANS = {
    "STOCKYARD_CLOUD_PLANS_ROOMY_RPM": "0",
    "STOCKYARD_CLOUD_PLANS_TINY_RPM": "0",
    "STOCKYARD_CLOUD_PLANS_TINY_MAX_DATABASE_BYTES": str(LIMIT_BYTES),
}


@pytest.fixture
def own_service() -> Iterator[Service]:
    service = Service("process", **PLANS)
    service.start()
    yield service
    service.remove()


def test_a_tenant_at_its_size_limit_refuses_calls_is_left_running_and_recovers_with_a_larger_plan(
    own_service: Service,
) -> None:
    tenant = own_service.open("large", plan="roomy")
    tenant.becomes("running")
    while _bytes_in_use(tenant) <= LIMIT_BYTES:
        tenant.say("a call that takes some room")
    pid = own_service.instance_pid("large")

    assert own_service.api("PUT", "/api/tenants/large", json={"plan": "tiny"}).status_code == 200

    def refused() -> bool:
        try:
            tenant.say("too much")
        except openai.APIStatusError as error:
            return error.code == "audit_unavailable"
        return False

    until(refused, "calls are refused")
    assert own_service.api("PUT", "/api/tenants/large", json={"plan": "roomy"}).status_code == 200
    until(tenant.answers, "calls are answered")
    assert own_service.instance_pid("large") == pid
    assert tenant.ledger_verdict()["valid"] is True


def _bytes_in_use(tenant: Tenant) -> int:
    with closing(sqlite3.connect(f"file:{tenant.volume / 'stockyard.db'}?mode=ro", uri=True)) as connection:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size
