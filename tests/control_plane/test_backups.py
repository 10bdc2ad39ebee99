"""What the API says of backups: how far back they reach, how old they are, and what it refuses."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, update

from control_plane.backups import control_copy
from control_plane.domain.retention import DAY_S
from control_plane.store.schema import epochs, meta, tenants
from tests.control_plane.conftest import Api


async def know(api: Api, n: int, **values: Any) -> None:
    """Let the tenant's epoch be known so."""

    def work(connection: Connection) -> None:
        row = {"tenant": "acme", "n": n, "parent": n - 1 or None, "restored": n > 1, "started_at": time.time()}
        connection.execute(insert(epochs).values(**row, bytes=0, ledger_seq=0, ledger_hash=""))
        connection.execute(update(epochs).where(epochs.c.n == n).values(**values))
        connection.execute(update(tenants).values(epoch=n))

    await api.plane.database.write(work)


async def two_lives(api: Api) -> float:
    """A tenant of the plan that keeps one day, with an expired and a present epoch; the present one's beginning."""
    await api.sign_up("acme")
    now = time.time()
    old = {"started_at": now - 9 * DAY_S, "closed_at": now - 5 * DAY_S, "confirmed_at": now - 5 * DAY_S}
    await know(api, 1, **old, verified_at=now - 5 * DAY_S, confirmed_txid=9, expired_at=now - DAY_S)
    present = {"started_at": now - 5 * DAY_S, "confirmed_at": now - 60, "confirmed_txid": 3, "first_txid": 1}
    await know(api, 2, **present, verified_at=now - 3_600, broken_at=now - 90)
    return now


async def test_the_window_is_what_the_plan_keeps_of_what_there_is(api: Api) -> None:
    now = await two_lives(api)
    shown = (await api("GET", "/api/tenants/acme/backups")).json()
    window = {name: datetime.fromisoformat(shown["window"][name]).timestamp() for name in ("from", "to")}
    assert abs(window["from"] - (now - DAY_S)) < 60 and abs(window["to"] - (now - 60)) < 1
    assert shown["window"]["days"] == 1
    newest, oldest = shown["epochs"]
    assert oldest["expired_at"] and not newest["expired_at"]
    assert newest["broken_at"] and not oldest["broken_at"]


async def test_a_time_outside_the_window_is_refused_with_the_window(api: Api) -> None:
    now = await two_lives(api)
    before = datetime.fromtimestamp(now - 2 * DAY_S, UTC).isoformat()
    refused = await api("POST", "/api/tenants/acme/restore", {"at": before})
    window = (await api("GET", "/api/tenants/acme/backups")).json()["window"]
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (422, "at")
    assert window["from"][:16] in error["message"] and window["to"] in error["message"]
    clone = await api("POST", "/api/tenants/acme/restore", {"at": before, "into": "copy"})
    assert clone.status_code == 422
    within = datetime.fromtimestamp(now - 0.5 * DAY_S, UTC).isoformat()
    assert (await api("POST", "/api/tenants/acme/restore", {"at": within})).status_code == 202


async def test_a_life_whose_backup_was_removed_is_refused_with_the_reason(api: Api) -> None:
    await two_lives(api)
    refused = await api("POST", "/api/tenants/acme/restore", {"epoch": 1})
    assert refused.status_code == 422
    assert "was removed" in refused.json()["error"]["message"]


async def test_a_tenant_that_sleeps_has_no_lag_however_long_ago_it_was_confirmed(api: Api) -> None:
    await two_lives(api)
    await api.plane.database.write(
        lambda connection: connection.execute(update(tenants).values(status="asleep")) and None
    )
    backup = (await api("GET", "/api/tenants/acme")).json()["backup"]
    assert backup["lag_s"] == 0.0
    assert backup["verified_at"] and backup["broken_at"]


async def test_the_lag_of_one_that_runs_is_not_guessed(api: Api) -> None:
    await two_lives(api)
    await api.plane.database.write(
        lambda connection: connection.execute(update(tenants).values(status="running")) and None
    )
    assert (await api("GET", "/api/tenants/acme")).json()["backup"]["lag_s"] is None


async def test_the_age_is_that_of_the_present_line_not_of_a_life_that_was_given_up(api: Api) -> None:
    now = await two_lives(api)
    await know(api, 3, parent=1, started_at=now - 30, confirmed_at=now - 10, confirmed_txid=1)
    backup = (await api("GET", "/api/tenants/acme")).json()["backup"]
    assert backup["verified_at"] is None


async def test_the_status_shows_when_the_planes_own_copy_was_proven(api: Api) -> None:
    assert (await api("GET", "/api/status")).json()["control_backup"] == {
        "lag_s": None,
        "verified_at": None,
        "broken_at": None,
    }
    verified = insert(meta).values(name=control_copy.VERIFIED, value="1760000000.0")
    broken = insert(meta).values(name=control_copy.BROKEN, value="1760000500.0")
    await api.plane.database.write(
        lambda connection: [connection.execute(each) for each in (verified, broken)] and None
    )
    shown = (await api("GET", "/api/status")).json()["control_backup"]
    assert (shown["verified_at"][:10], shown["broken_at"][:10]) == ("2025-10-09", "2025-10-09")
    checks = {each["name"]: each["ok"] for each in (await api("GET", "/api/doctor")).json()["checks"]}
    assert checks["own copy"] is False and checks["replicas"] is True
