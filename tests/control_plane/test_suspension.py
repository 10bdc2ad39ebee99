"""A suspension with notice: announced, shown, taken back, and carried out by itself, also after a time without a plane."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from control_plane.api.frame import Frame
from control_plane.app import api_app
from control_plane.config import Config
from control_plane.domain.tenants import Desired, Tenant
from control_plane.running import running_plane
from control_plane.store import suspensions
from tests.control_plane.conftest import OPERATOR_KEY, Api, error_code

ENV = {"STOCKYARD_CLOUD_OPERATOR_KEY": OPERATOR_KEY, "STOCKYARD_CLOUD_MASTER_KEY": "ab" * 32}


async def _announce(api: Api, after_s: int = 3600) -> dict[str, object]:
    await api.sign_up("acme")
    answer = await api("POST", "/api/tenants/acme/suspend", {"reason": "unpaid", "after_s": after_s})
    assert answer.status_code == 202
    return dict(answer.json())


async def _tenant(api: Api, holds: Callable[[Tenant], bool] = lambda _: True) -> Tenant:
    """The tenant once it is so."""
    async with asyncio.timeout(10):
        while True:
            tenant = await api.plane.store.tenant("acme")
            assert tenant is not None
            if holds(tenant):
                return tenant
            await asyncio.sleep(0.05)


async def test_an_announced_suspension_is_shown_and_is_an_event_and_the_tenant_goes_on(api: Api) -> None:
    shown = await _announce(api)
    assert (shown["desired"], shown["suspend_reason"], shown["suspend_after"] is not None) == (
        "running",
        "unpaid",
        True,
    )
    events = (await api("GET", "/api/tenants/acme/events")).json()["events"]
    assert "tenant.suspend_announced" in [event["kind"] for event in events]
    await api("POST", "/api/tenants/acme/wake")
    assert (await _tenant(api)).suspend_reason == "unpaid"


async def test_resume_takes_it_back_and_only_the_operator_may(api: Api) -> None:
    made = await api.sign_up("acme")
    await api("POST", "/api/tenants/acme/suspend", {"after_s": 3600})
    refused = await api("POST", "/api/tenants/acme/resume", key=made["account_key"])
    assert (refused.status_code, error_code(refused)) == (403, "forbidden")
    back = (await api("POST", "/api/tenants/acme/resume")).json()
    assert (back["suspend_after"], back["desired"]) == (None, "running")
    assert (await _tenant(api)).suspend_after is None


async def test_it_takes_effect_by_itself_with_its_reason(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspensions, "LOOK_S", 0.01)
    await _announce(api, after_s=1)
    tenant = await _tenant(api, lambda each: each.desired is Desired.SUSPENDED)
    assert (tenant.reason, tenant.suspend_after) == ("unpaid", None)
    resumed = (await api("POST", "/api/tenants/acme/resume")).json()
    assert resumed["desired"] == "running"


async def test_one_that_came_due_while_no_control_plane_ran_takes_effect_at_its_start(
    config: Config, migrated: Path
) -> None:
    config.prepare()
    shutil.copy(migrated, config.database_file)
    async with running_plane(config, reconcile=False, env=ENV) as plane:
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(Frame(api_app(plane))), base_url="http://plane")
        await _announce(Api(client, plane))
    with closing(sqlite3.connect(config.database_file)) as down, down:
        down.execute("UPDATE tenants SET suspend_after = ?", (time.time() - 10,))
    async with running_plane(config, reconcile=False, env=ENV) as plane:
        tenant = await _tenant(Api(client, plane), lambda each: each.desired is Desired.SUSPENDED)
        assert tenant.reason == "unpaid"


async def test_suspending_at_once_answers_the_announcement(api: Api) -> None:
    await _announce(api)
    now = (await api("POST", "/api/tenants/acme/suspend", {"reason": "fraud"})).json()
    assert (now["desired"], now["reason"], now["suspend_after"]) == ("suspended", "fraud", None)


async def test_a_tenant_that_is_being_deleted_is_not_suspended_any_more(api: Api) -> None:
    await _announce(api)
    await api("DELETE", "/api/tenants/acme")
    done = await api.plane.database.write(lambda c: suspensions.carry_out_due(c, time.time() + 7200))
    assert done == ["acme"]
    tenant = await _tenant(api)
    assert (tenant.desired, tenant.suspend_after) == (Desired.DELETED, None)
