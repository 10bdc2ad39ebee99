"""The database: its migrations, its ledger, and what the reconciler is promised of it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text, update

from control_plane import ledger
from control_plane.domain.plans import FREE
from control_plane.domain.tenants import Desired, Generation, RestoreRequest, Status
from control_plane.errors import CloudError
from control_plane.reconcile.restore_plan import candidates
from control_plane.store import accounts, epochs, keys, tenants, usage
from control_plane.store.database import Database
from control_plane.store.keys import NewKey
from control_plane.store.migrate import FOLDER, HEAD, migrate
from control_plane.store.record import events_of, record
from control_plane.store.schema import metadata
from control_plane.store.schema import tenants as tenants_table
from control_plane.store.store import Store
from control_plane.store.tenants import NewTenant


@pytest.fixture
async def database(tmp_path: Path, migrated: Path) -> AsyncIterator[Database]:
    shutil.copy(migrated, tmp_path / "control.db")
    database = Database(f"sqlite:///{tmp_path}/control.db")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database, lambda name: FREE, lambda sealed, slug: sealed.removeprefix(slug))


async def _create(database: Database, slug: str = "acme", restore: RestoreRequest | None = None) -> None:
    sealed = slug.encode() + b'{"instance_key":"sy_inst_x","secret_key":"s"}'

    def work(connection: Connection) -> None:
        owner = accounts.operator_account(connection)
        new = NewTenant(slug, owner.id, FREE, "local", "image", sealed, restore)
        tenants.create(connection, new, actor="operator")

    await database.write(work, asks=slug)


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


def _schema(path: Path) -> set[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return {(name, _in_order(sql)) for name, sql in rows} | {("version", version[0])}


def _in_order(sql: str) -> str:
    """One definition's parts, sorted: the two ways write constraints in another order."""
    return " ".join(sorted(" ".join(sql.split()).replace("( ", "(").replace(" )", ")").strip("() ").split(", ")))


async def test_migrations_make_exactly_the_schema_that_the_code_uses(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/migrated.db")
    with engine.begin() as connection:
        migrate(connection)
        assert _differences(connection) == []
    engine.dispose()
    database = Database(f"sqlite:///{tmp_path}/new.db")
    await database.open()
    await database.close()
    assert _schema(tmp_path / "new.db") == _schema(tmp_path / "migrated.db")


async def test_a_database_of_an_earlier_version_is_migrated(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    connection.close()
    database = Database(f"sqlite:///{tmp_path}/old.db")
    await database.open()
    assert await database.read(_differences) == []
    await database.close()


def test_the_newest_migration_is_the_one_at_which_alembic_is_skipped() -> None:
    assert ScriptDirectory(str(FOLDER)).get_heads() == [HEAD]


async def test_a_database_that_is_up_to_date_opens_again_with_what_was_in_it(tmp_path: Path) -> None:
    for expected in (0, 1):
        database = Database(f"sqlite:///{tmp_path}/control.db")
        await database.open()
        assert len(await database.read(tenants.every)) == expected
        if not expected:
            await _create(database)
        await database.close()


async def test_litestream_owns_the_checkpoints_of_a_replicated_database(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/control.db", replicated=True)
    await database.open()
    assert await database.read(lambda c: c.execute(text("PRAGMA wal_autocheckpoint")).scalar()) == 0
    await database.close()


async def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/control.db")
    await database.open()
    await database.close()
    assert (tmp_path / "control.db").stat().st_mode & 0o077 == 0


async def test_a_write_that_fails_leaves_neither_row_nor_entry(database: Database) -> None:
    def work(connection: Connection) -> None:
        record(connection, actor="operator", action="x", message="", tenant="acme")
        raise CloudError("conflict", "no")

    with pytest.raises(CloudError):
        await database.write(work)
    assert (await database.read(lambda c: ledger.page(c, limit=10, offset=0)))[1] == 0


async def test_a_changed_ledger_row_is_named(database: Database, tmp_path: Path) -> None:
    await _create(database)
    await _create(database, "beta")
    assert (await database.read(ledger.verify))["valid"]
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("UPDATE ledger SET actor = 'nobody' WHERE seq = 2")
    connection.close()
    verdict = await database.read(ledger.verify)
    assert (verdict["valid"], verdict["broken_at_id"], verdict["reason"]) == (False, 2, "hash_mismatch")


async def test_the_loop_is_woken_by_what_is_asked_and_told_of_whom(database: Database, store: Store) -> None:
    waiting = asyncio.create_task(store.wait_change(30))
    await _create(database)
    assert await waiting == {"acme"}
    assert await store.wait_change(0) == set()


async def test_what_the_loop_writes_itself_does_not_wake_it(database: Database, store: Store) -> None:
    await _create(database)
    await store.wait_change(0)
    await store.save_status("acme", Generation(1, 1), status=Status.RUNNING)
    assert await store.wait_change(0) == set()


async def test_a_status_is_an_event_once(database: Database, store: Store) -> None:
    await _create(database)
    for _ in range(3):
        await store.save_status("acme", Generation(1, 1), status=Status.RUNNING, applied=Generation(1, 1))
    found, _ = await database.read(lambda c: events_of(c, "acme", limit=50))
    assert [event["message"] for event in found if event["kind"] == "status"] == ["provisioning -> running"]
    tenant = await store.tenant("acme")
    assert tenant is not None
    assert (tenant.status, tenant.applied) == (Status.RUNNING, Generation(1, 1))


async def test_an_epoch_number_is_never_given_out_twice(database: Database, store: Store) -> None:
    await _create(database)
    first = await store.new_epoch("acme", None)
    await store.confirm("acme", 1, 9, bytes=100)
    second = await store.new_epoch("acme", 1, restored_from_at="2026-01-01T00:00:00Z")
    assert (first.n, second.n, second.parent) == (1, 2, 1)
    await store.purge("acme")
    await _create(database)
    assert (await store.new_epoch("acme", None)).n == 3
    closed = [life.closed_at is not None for life in await store.epochs("acme")]
    assert closed == [True, True, False]


async def test_a_confirmation_never_goes_back(database: Database, store: Store) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    await store.confirm("acme", 1, 9, ledger_seq=5, ledger_hash="aa")
    await store.confirm("acme", 1, 7, ledger_seq=4, ledger_hash="bb")
    (life,) = await store.epochs("acme")
    assert (life.first_txid, life.confirmed_txid, life.ledger_seq, life.ledger_hash) == (9, 9, 5, "aa")


async def test_a_verify_request_stays_until_it_is_answered(database: Database, store: Store) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    await database.write(lambda c: c.execute(update(tenants_table).values(verify_requested_at=1.0)))
    assert await store.verify_requests() == [("acme", None)]
    await store.verified("acme", 1, ok=True, detail={"seconds": 0.5})
    assert await store.verify_requests() == []
    assert (await store.epochs("acme"))[0].verified_at is not None


async def test_a_restore_request_is_cleared_only_by_its_own_answer(database: Database, store: Store) -> None:
    await _create(database, restore=RestoreRequest(requested_at=5.0))
    await store.restore_done("acme", 4.0, {"ok": True})
    tenant = await store.tenant("acme")
    assert tenant is not None and tenant.restore == RestoreRequest(requested_at=5.0)
    await store.restore_done("acme", 5.0, {"ok": False, "detail": "unreadable"})
    tenant = await store.tenant("acme")
    assert tenant is not None and tenant.restore is None


async def test_a_backup_that_did_not_verify_is_marked_until_it_does(database: Database, store: Store) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    await store.verified("acme", 1, ok=True, detail={})
    await store.verified("acme", 1, ok=False, detail={"detail": "torn"})
    broken = (await store.epochs("acme"))[0]
    assert broken.broken_at is not None and broken.verified_at is not None
    events, _ = await database.read(lambda connection: events_of(connection, "acme", limit=1))
    assert events[0]["kind"] == "backup.broken"
    await store.verified("acme", 1, ok=True, detail={})
    assert (await store.epochs("acme"))[0].broken_at is None


async def test_a_slug_that_comes_back_looks_for_no_backup_of_its_purged_life(database: Database, store: Store) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    await store.confirm("acme", 1, 7)
    await store.purge("acme")
    await _create(database)
    assert [each.expired_at is not None for each in await store.epochs("acme")] == [True]
    assert candidates(await store.epochs("acme"), None) == ()


async def test_secrets_come_back_unwrapped_and_are_gone_after_a_purge(database: Database, store: Store) -> None:
    await _create(database)
    assert (await store.secrets("acme")).instance_key == "sy_inst_x"
    await store.purge("acme")
    with pytest.raises(LookupError):
        await store.secrets("acme")
    assert await store.tenant("acme") is None


async def test_a_purge_begins_only_after_the_grace_and_only_of_a_deleted_tenant(
    database: Database, store: Store
) -> None:
    await _create(database)
    assert not await store.begin_purge("acme")
    deleted = update(tenants_table).values(desired=Desired.DELETED)
    await database.write(lambda c: c.execute(deleted.values(delete_after=time.time() + 60)))
    assert not await store.begin_purge("acme")
    await database.write(lambda c: c.execute(deleted.values(delete_after=time.time() - 1)))
    assert [await store.begin_purge("acme"), await store.begin_purge("acme")] == [True, True]


async def test_a_purged_slug_stays_with_its_account(database: Database, store: Store) -> None:
    await _create(database)
    await store.purge("acme")

    def take_over(connection: Connection) -> None:
        other = accounts.create(connection, "o@o.example", name="", password_hash="", plan="free", actor="")
        tenants.create(connection, NewTenant("acme", other.id, FREE, "local", "image", b""), actor="x")

    with pytest.raises(CloudError, match="taken"):
        await database.write(take_over)
    await _create(database)


async def test_a_wake_is_written_once_while_it_is_under_way(database: Database, store: Store) -> None:
    await _create(database)

    def wake(connection: Connection) -> bool:
        tenant = tenants.get(connection, "acme", account=None)
        return tenants.desire(connection, tenant, Desired.RUNNING, actor="activator")

    await store.save_status("acme", Generation(1, 1), status=Status.ASLEEP)
    assert [await database.write(wake) for _ in range(3)] == [True, False, False]


async def test_a_wake_of_one_that_seems_awake_is_written_because_a_nap_may_have_begun(
    database: Database, store: Store
) -> None:
    await _create(database)
    await store.save_status("acme", Generation(1, 1), status=Status.RUNNING)
    await database.write(lambda c: c.execute(update(tenants_table).values(wake_requested_at=0.0)))

    def wake(connection: Connection) -> bool:
        tenant = tenants.get(connection, "acme", account=None)
        return tenants.desire(connection, tenant, Desired.RUNNING, actor="activator")

    assert await database.write(wake)


async def test_rotating_a_key_keeps_the_old_one_for_the_overlap(database: Database) -> None:
    await _create(database)
    old = await database.write(lambda c: keys.create(c, "acme", NewKey("k", "proxy", "aa", "p", rpm=7), actor="x"))
    new = await database.write(lambda c: keys.rotate(c, old, "bb", "p", 60, actor="x"))
    old = await database.read(lambda c: keys.get(c, "acme", old.id))
    assert old.expires_at is not None
    assert old.valid_at(old.expires_at - 1) and not old.valid_at(old.expires_at)
    assert (new.rpm, new.expires_at) == (7, None)


def _reading(requests: int, **more: object) -> dict[str, object]:
    return {"requests": requests, "tokens_in": requests * 10, "cost_usd": requests / 1000, **more}


async def _used(database: Database, by: str = "day") -> list[tuple[object, ...]]:
    rows = await database.read(lambda c: usage.totals(c, ["acme"], first_day=None, last_day=None, by=by))
    return [(row["day"], row["epoch"], row.get("key_id"), row["requests"], row["tokens_in"]) for row in rows]


async def test_a_reading_collected_twice_counts_once(database: Database, store: Store) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    for requests in (3, 3, 5, 4):
        await database.write(lambda c, n=requests: usage.collect(c, "acme", 1, _reading(n), 0.0))
    assert await _used(database) == [("1970-01-01", 1, None, 5, 50)]


async def test_usage_is_counted_on_the_day_it_was_read_and_by_key(database: Database, store: Store) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    for at, requests in ((0.0, 3), (86_400.0, 5)):
        by_key = {"7": _reading(requests)}
        await database.write(
            lambda c, t=at, n=requests, k=by_key: usage.collect(c, "acme", 1, _reading(n, by_key=k), t)
        )
    assert await _used(database) == [("1970-01-02", 1, None, 2, 20), ("1970-01-01", 1, None, 3, 30)]
    assert await _used(database, "key") == [("1970-01-02", 1, 7, 2, 20), ("1970-01-01", 1, 7, 3, 30)]


async def test_a_key_shows_when_it_was_last_used_and_an_older_reading_takes_nothing_back(
    database: Database, store: Store
) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    new = NewKey("k", "proxy", "ab" * 32, "sk-sy-…")
    key = await database.write(lambda c: keys.create(c, "acme", new, actor="operator"))
    for requests, used in ((3, "2026-01-02T00:00:00Z"), (4, "2026-01-01T00:00:00Z")):
        by_key = {str(key.id): {**_reading(requests), "last_request_at": used}, "": _reading(1)}
        await database.write(lambda c, n=requests, k=by_key: usage.collect(c, "acme", 1, _reading(n, by_key=k), 0.0))
    assert (await database.read(lambda c: keys.get(c, "acme", key.id))).last_used_at == 1_767_312_000.0


async def test_what_is_used_of_the_plans_calls_is_an_event_once_and_shown(database: Database, store: Store) -> None:
    await _create(database)
    epoch = await store.new_epoch("acme", None)
    said = {"month": "2026-01", "calls": 80, "limit": 100, "served_most": 110}
    for calls in (80, 85):
        await store.record_usage("acme", epoch.n, _reading(calls, quota=said | {"calls": calls}))
    found, _ = await database.read(lambda c: events_of(c, "acme", limit=50))
    assert [event["kind"] for event in found if event["kind"].startswith("quota")] == ["quota.near"]
    tenant = await store.tenant("acme")
    assert tenant is not None and tenant.quota is not None and tenant.quota.calls == 85


async def test_usage_is_counted_by_model(database: Database, store: Store) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    for a, b in ((2, 1), (5, 1)):
        by_model = {"gpt": _reading(a), "other": _reading(b)}
        reading = _reading(a + b, by_model=by_model)
        await database.write(lambda c, r=reading: usage.collect(c, "acme", 1, r, 0.0))
    rows = await database.read(lambda c: usage.totals(c, ["acme"], first_day=None, last_day=None, by="model"))
    assert [(row["model"], row["requests"]) for row in rows] == [("gpt", 5), ("other", 1)]


async def test_calls_that_a_restored_database_brought_along_are_not_counted_again(
    database: Database, store: Store
) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    await database.write(lambda c: usage.collect(c, "acme", 1, _reading(8), 0.0))
    await store.new_epoch("acme", 1)
    for requests in (6, 7):
        await database.write(lambda c, n=requests: usage.collect(c, "acme", 2, _reading(n), 0.0))
    assert sorted(row[1:4] for row in await _used(database)) == [(1, None, 8), (2, None, 1)]


async def test_what_a_copy_brings_along_is_counted_once_if_it_never_was(database: Database, store: Store) -> None:
    await _create(database)
    readings = [(1, None, (5,)), (2, 1, (8, 9)), (3, 1, (8, 10))]  # both are copies of epoch 1 with its last 3 calls
    for epoch, parent, counters in readings:
        await store.new_epoch("acme", parent)
        for requests in counters:
            await database.write(lambda c, e=epoch, n=requests: usage.collect(c, "acme", e, _reading(n), 0.0))
    assert sorted(row[1:4] for row in await _used(database)) == [(1, None, 5), (2, None, 4), (3, None, 2)]


async def test_a_life_that_was_never_read_does_not_hide_the_usage_of_the_one_before(
    database: Database, store: Store
) -> None:
    await _create(database)
    for parent in (None, 1, 2):
        await store.new_epoch("acme", parent)
    await database.write(lambda c: usage.collect(c, "acme", 3, _reading(7), 0.0))
    assert [row[1:4] for row in await _used(database)] == [(3, None, 7)]


@pytest.mark.parametrize(("source", "counted"), [("", 6), ("bolt", 0)])
async def test_a_first_life_begins_empty_unless_anothers_database_is_waited_for(
    database: Database, store: Store, source: str, counted: int
) -> None:
    await _create(database, restore=RestoreRequest(source=source, requested_at=5.0))
    await store.new_epoch("acme", None)
    await database.write(lambda c: usage.collect(c, "acme", 1, _reading(6), 0.0))
    assert sum(row[3] for row in await _used(database)) == counted


async def test_epochs_that_only_the_backups_know_are_the_tenants_newest(database: Database, store: Store) -> None:
    await _create(database)
    await store.new_epoch("acme", None)
    at_store = {"acme": {2: (5.0, 6.0), 3: (7.0, 8.0)}, "nobody": {1: (1.0, 1.0)}}
    assert await database.write(lambda c: epochs.adopt(c, at_store)) == 2
    assert await database.write(lambda c: epochs.adopt(c, at_store)) == 0
    tenant = await store.tenant("acme")
    assert tenant is not None and tenant.epoch == 3
    lives = [(life.n, life.parent, life.closed_at, life.confirmed_at) for life in await store.epochs("acme")]
    assert lives == [(1, None, 5.0, None), (2, 1, 7.0, 6.0), (3, 2, None, 8.0)]
    assert (await store.new_epoch("acme", 3)).n == 4


async def test_a_known_epoch_that_the_backups_hold_is_confirmed_if_no_more_is_known(
    database: Database, store: Store
) -> None:
    await _create(database)
    for parent in (None, 1, 2, 3):
        await store.new_epoch("acme", parent)
    await store.confirm("acme", 1, 7)
    await database.write(lambda c: epochs.expire(c, "acme", 2))
    at_store = {"acme": {1: (1.0, 2.0), 2: (3.0, 4.0), 3: (5.0, 6.0)}}
    assert await database.write(lambda c: epochs.adopt(c, at_store)) == 1
    assert await database.write(lambda c: epochs.adopt(c, at_store)) == 0
    assert [life.confirmed_txid for life in await store.epochs("acme")] == [7, None, 1, None]
    assert (await store.epochs("acme"))[2].confirmed_at == 6.0


async def test_a_pass_reads_every_change_and_keeps_what_did_not_change(database: Database, store: Store) -> None:
    await _create(database, "acme")
    await _create(database, "bolt")
    before = {each.slug: each for each in await store.tenants()}
    await store.save_status("acme", Generation(1, 1), status=Status.RUNNING, next_action="naps")
    await store.save_schedule("acme", 12.5)
    after = {each.slug: each for each in await store.tenants()}
    assert (after["acme"].status, after["acme"].next_action) == (Status.RUNNING, "naps")
    assert after["acme"].scheduled_next_at == 12.5
    assert after["bolt"] is before["bolt"]
    await store.purge("bolt")
    assert [each.slug for each in await store.tenants()] == ["acme"]


@pytest.mark.parametrize("named_at_most", [0, 500])
async def test_epochs_of_several_tenants_are_read_at_once(
    database: Database, store: Store, monkeypatch: pytest.MonkeyPatch, named_at_most: int
) -> None:
    monkeypatch.setattr(epochs, "NAMED_IN_A_QUERY", named_at_most)
    await _create(database, "acme")
    await _create(database, "bolt")
    await _create(database, "cask")
    for slug in ("acme", "acme", "cask"):
        await store.new_epoch(slug, None)
    found = await store.epochs_of(["acme", "bolt"])
    assert {slug: [each.n for each in lives] for slug, lives in found.items()} == {"acme": [1, 2], "bolt": []}
    assert found["acme"] == await store.epochs("acme")


async def test_a_verification_that_fails_is_remembered_until_one_succeeds(database: Database, store: Store) -> None:
    await _create(database, "acme")
    await store.new_epoch("acme", None)
    await store.verified("acme", 1, ok=False, detail={})
    broken = (await store.epochs("acme"))[0]
    assert broken.broken_at is not None and broken.verified_at is None
    await store.verified("acme", 1, ok=True, detail={})
    sound = (await store.epochs("acme"))[0]
    assert sound.broken_at is None and sound.verified_at is not None


async def test_an_orphan_that_was_ended_is_in_the_ledger_alone(database: Database, store: Store) -> None:
    await store.orphan_ended("stray", ["instance", "link"])
    rows, _ = await database.read(lambda c: ledger.page(c, limit=1, offset=0, resource="tenant:stray"))
    assert (rows[0]["action"], rows[0]["detail"]) == ("orphan.end", {"ended": ["instance", "link"]})
    assert (await database.read(lambda c: events_of(c, "stray", limit=10)))[1] == 0
