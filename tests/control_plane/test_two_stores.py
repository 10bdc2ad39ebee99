"""What the control plane's database and the simulation's promise alike, so that the simulation is about the real one."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from control_plane.domain.plans import FREE
from control_plane.domain.tenants import Desired, Generation, Status
from control_plane.reconcile.ports import Store as StorePort
from control_plane.store import accounts, tenants
from control_plane.store.database import Database
from control_plane.store.schema import tenants as tenants_table
from control_plane.store.schema import usage_days
from control_plane.store.store import Store
from control_plane.store.tenants import NewTenant
from tests.simulation.invariants import Invariants
from tests.simulation.plane import Faults, Plane
from tests.simulation.sim_store import SimStore, Tables
from tests.simulation.world import READ, World


@dataclass
class Rig:
    """A store with one tenant, `acme`, and what the API does to it."""

    store: StorePort
    delete: Callable[[float], Awaitable[None]]  # its grace ends so many seconds from now
    used: Callable[[], Awaitable[int]]


async def _sql(folder: Path, migrated: Path) -> tuple[Database, Rig]:
    shutil.copy(migrated, folder / "control.db")
    database = Database(f"sqlite:///{folder}/control.db")
    await database.open()

    def create(connection: Any) -> None:
        owner = accounts.operator_account(connection)
        new = NewTenant("acme", owner.id, FREE, "local", "image", b"")
        tenants.create(connection, new, actor="operator")

    async def delete(grace_s: float) -> None:
        values = {"desired": Desired.DELETED, "delete_after": time.time() + grace_s}
        await database.write(lambda connection: connection.execute(update(tenants_table).values(**values)))

    async def used() -> int:
        whole = select(usage_days.c.requests).where(usage_days.c.key_id == 0)
        return sum(await database.read(lambda connection: list(connection.execute(whole).scalars())))

    await database.write(create, asks="acme")
    return database, Rig(Store(database, lambda name: FREE, lambda sealed, slug: sealed), delete, used)


def _simulated() -> Rig:
    chance, faults = random.Random(1), Faults()
    faults.cease()
    world = World(chance)
    tables = Tables(world=world, invariants=_Unwatched(world))
    tables.create("acme", 300, 3600)

    async def delete(grace_s: float) -> None:
        tables.write("acme", desired=Desired.DELETED, delete_after=world.now + grace_s)

    async def used() -> int:
        return tables.used.get("acme", 0)

    return Rig(SimStore(Plane(chance, faults), tables), delete, used)


class _Unwatched(Invariants):
    """A store alone: there is no machine that what is written could be compared with."""

    def at_confirm(self, slug: str, epoch: int, txid: int) -> None:
        return

    def at_status(self, *arguments: object) -> None:
        return

    def at_verified(self, slug: str, epoch: int) -> None:
        return

    def at_usage(self, *arguments: object) -> None:
        return


@pytest.fixture(params=["sql", "simulated"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path, migrated: Path) -> AsyncIterator[Rig]:
    if request.param == "simulated":
        yield _simulated()
        return
    database, made = await _sql(tmp_path, migrated)
    yield made
    await database.close()


def _reading(requests: int) -> dict[str, Any]:
    return {"requests": requests, READ: ()}


async def test_a_change_is_heard_of_once(rig: Rig) -> None:
    assert await rig.store.wait_change(5) == {"acme"}
    assert await rig.store.wait_change(0) == set()


async def test_an_epoch_number_is_never_given_out_twice_and_the_one_before_is_closed(rig: Rig) -> None:
    first = await rig.store.new_epoch("acme", None)
    second = await rig.store.new_epoch("acme", first.n)
    assert (first.n, second.n, second.parent) == (1, 2, 1)
    assert [life.closed_at is not None for life in await rig.store.epochs("acme")] == [True, False]
    tenant = await rig.store.tenant("acme")
    assert tenant is not None and tenant.epoch == 2


async def test_a_confirmation_never_goes_back(rig: Rig) -> None:
    await rig.store.new_epoch("acme", None)
    await rig.store.confirm("acme", 1, 9)
    await rig.store.confirm("acme", 1, 7)
    (life,) = await rig.store.epochs("acme")
    assert life.confirmed_txid == 9 and life.confirmed_at is not None


async def test_a_backup_that_verified_is_called_verified(rig: Rig) -> None:
    await rig.store.new_epoch("acme", None)
    await rig.store.verified("acme", 1, ok=False, detail={})
    assert (await rig.store.epochs("acme"))[0].verified_at is None
    await rig.store.verified("acme", 1, ok=True, detail={})
    assert (await rig.store.epochs("acme"))[0].verified_at is not None


async def test_what_is_saved_of_the_status_is_read_again_and_the_rest_stays(rig: Rig) -> None:
    await rig.store.save_status("acme", Generation(1, 1), status=Status.RUNNING, applied=Generation(1, 1))
    await rig.store.save_status("acme", Generation(1, 1), status=Status.FAILED, failure="broken", next_action="waits")
    tenant = await rig.store.tenant("acme")
    assert tenant is not None
    assert (tenant.status, tenant.failure, tenant.next_action) == (Status.FAILED, "broken", "waits")
    assert tenant.applied == Generation(1, 1)


async def test_a_reading_twice_or_late_counts_once(rig: Rig) -> None:
    await rig.store.new_epoch("acme", None)
    for requests in (3, 3, 5, 4, 5):
        await rig.store.record_usage("acme", 1, _reading(requests))
    assert await rig.used() == 5


async def test_a_copy_counts_what_was_never_counted_and_no_more(rig: Rig) -> None:
    for parent, counters in ((None, (5,)), (1, (8, 9)), (1, (8, 10))):
        life = await rig.store.new_epoch("acme", parent)
        for requests in counters:
            await rig.store.record_usage("acme", life.n, _reading(requests))
    assert await rig.used() == 5 + 4 + 2


async def test_a_purge_begins_only_after_the_grace_and_only_of_a_deleted_tenant(rig: Rig) -> None:
    assert not await rig.store.begin_purge("acme")
    await rig.delete(60)
    assert not await rig.store.begin_purge("acme")
    await rig.delete(-1)
    assert [await rig.store.begin_purge("acme"), await rig.store.begin_purge("acme")] == [True, True]


async def test_a_purged_tenant_is_gone(rig: Rig) -> None:
    await rig.delete(-1)
    await rig.store.begin_purge("acme")
    await rig.store.purge("acme")
    assert await rig.store.tenant("acme") is None
    assert list(await rig.store.tenants()) == []
