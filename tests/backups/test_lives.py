"""Which epochs the backups tell of, whoever is asked."""

from __future__ import annotations

import pytest

from control_plane.backups.litestream import LitestreamBackups
from control_plane.backups.lives import GAP_MAX, lives_at_store
from control_plane.backups.places import Places
from control_plane.config import Config
from tests.backups.tenant_database import TenantDatabase
from tests.reconcile.pictures import epoch

pytestmark = pytest.mark.slow

BEYOND = 2 + GAP_MAX


@pytest.mark.parametrize("listed", [True, False], ids=["the store", "Litestream"])
async def test_epochs_that_are_not_known_or_not_confirmed_are_found(
    config: Config, backups: LitestreamBackups, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    with TenantDatabase(config.tenant_dir("acme") / "stockyard.db") as database:
        database.append()
        for n in (2, BEYOND):
            await backups.register("acme", n)
            await backups.sync_wait("acme")
            await backups.unregister("acme")
    monkeypatch.setattr(Places, "listed", listed)
    known = {"acme": [epoch(1, None), epoch(2, None)], "bolt": []}
    found = await lives_at_store(Places(config.replica_url), known)
    assert sorted(found["acme"]) == [2, BEYOND]
    assert all(0 < first <= last for first, last in found["acme"].values())
    assert not found.get("bolt")
