"""A deleted tenant's name: nobody else's for 90 days, its own account's at any time."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import select, update

from control_plane.domain.slugs import TOMBSTONE_S
from control_plane.store.schema import tenants
from tests.control_plane.conftest import Api, error_code


@pytest.fixture
async def owner(api: Api) -> dict[str, Any]:
    """An account whose tenant `acme` was deleted and purged."""
    made = await api.sign_up("acme")
    assert (await api("DELETE", "/api/tenants/acme", key=made["account_key"])).status_code == 202
    await api.plane.store.purge("acme")
    return made


async def age(api: Api, seconds: float) -> None:
    """Make the tombstone so old."""
    await api.plane.database.write(
        lambda connection: connection.execute(
            update(tenants).where(tenants.c.slug == "acme").values(purged_at=time.time() - seconds)
        )
    )


async def stranger(api: Api, slug: str = "acme") -> Any:
    body = {"email": f"somebody@{slug}-else.example", "tenant_slug": slug}
    return await api("POST", "/api/signup", body, key="")


async def test_another_account_does_not_get_it_before_90_days(api: Api, owner: dict[str, Any]) -> None:
    for seconds in (0.0, TOMBSTONE_S - 60):
        await age(api, seconds)
        refused = await stranger(api)
        assert (refused.status_code, error_code(refused)) == (409, "slug_taken")
    other = await api.sign_up("other")
    refused = await api("POST", "/api/tenants", {"slug": "acme"}, key=other["account_key"])
    assert (refused.status_code, error_code(refused)) == (409, "slug_taken")
    refused = await api("POST", "/api/tenants", {"slug": "acme"})
    assert (refused.status_code, error_code(refused)) == (409, "slug_taken")


async def test_after_90_days_another_account_gets_it_with_nothing_of_the_old_one(
    api: Api, owner: dict[str, Any]
) -> None:
    await age(api, TOMBSTONE_S + 60)
    made = await stranger(api)
    assert made.status_code == 201
    events = await api("GET", "/api/tenants/acme/events", key=made.json()["account_key"])
    assert [event["kind"] for event in events.json()["events"]] == ["key.create", "key.create", "tenant.create"]
    assert (await api("GET", "/api/tenants/acme", key=owner["account_key"])).status_code == 404


async def test_its_own_account_has_it_back_at_once_and_its_epochs_go_on(api: Api, owner: dict[str, Any]) -> None:
    def used(connection: Any) -> None:
        connection.execute(update(tenants).where(tenants.c.slug == "acme").values(epoch=4))

    await api.plane.database.write(used)
    again = await api("POST", "/api/tenants", {"slug": "acme"}, key=owner["account_key"])
    assert again.status_code == 201
    assert again.json()["api_key"] != owner["api_key"]
    found = await api.plane.database.read(
        lambda connection: connection.execute(select(tenants.c.epoch, tenants.c.number)).one()
    )
    assert found.epoch == 4 and found.number > 1


async def test_while_it_is_only_deleted_nobody_gets_it(api: Api) -> None:
    made = await api.sign_up("acme")
    await api("DELETE", "/api/tenants/acme", key=made["account_key"])
    assert error_code(await stranger(api)) == "slug_taken"
