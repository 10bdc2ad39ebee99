"""Tenants' events are bounded in age and number."""

from __future__ import annotations

import time

from sqlalchemy import Connection, insert

from control_plane.store.schema import events
from control_plane.store.upkeep import prune
from tests.control_plane.conftest import Api


async def kept(api: Api, slug: str) -> list[str]:
    rows = (await api("GET", f"/api/tenants/{slug}/events?limit=500")).json()["events"]
    return [row["message"] for row in rows]


async def fill(api: Api, slug: str, ages_s: list[float]) -> None:
    now = time.time()
    rows = [
        {"tenant": slug, "at": now - age, "actor": "x", "kind": "k", "message": f"{age:.0f}", "detail": {}}
        for age in ages_s
    ]

    def work(connection: Connection) -> None:
        connection.execute(insert(events), rows)

    await api.plane.database.write(work)


async def test_events_older_than_the_setting_go_and_younger_ones_stay(api: Api) -> None:
    await api.sign_up("acme")
    await fill(api, "acme", [200 * 86_400, 91 * 86_400, 89 * 86_400, 10])
    assert await prune(api.plane.database, api.plane.config, time.time()) == 2
    assert (await kept(api, "acme"))[:2] == ["10", f"{89 * 86_400}"]
    assert await prune(api.plane.database, api.plane.config, time.time()) == 0


async def test_a_tenant_that_fills_its_log_loses_its_own_oldest_only(api: Api) -> None:
    for slug in ("acme", "beta"):
        await api.sign_up(slug)
    await fill(api, "acme", [float(500 - number) for number in range(500)])
    bounded = api.plane.config.model_copy(update={"events_per_tenant": 100})
    before = await kept(api, "beta")
    await prune(api.plane.database, bounded, time.time())
    assert await kept(api, "acme") == [str(number) for number in range(1, 101)]
    assert await kept(api, "beta") == before
