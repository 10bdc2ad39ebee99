"""The control plane's own database, lost and brought back, with the real Litestream."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection

from control_plane import ledger
from control_plane.backups.control_copy import ControlCopy, proof
from control_plane.backups.key_ends import KeyEnds, apply_ends, ends_in
from control_plane.backups.litestream import LitestreamBackups
from control_plane.backups.places import Places
from control_plane.backups.restore_plane import restore_plane
from control_plane.config import Config
from control_plane.domain.key_ends import NEVER, REVOKED
from control_plane.errors import ConfigError
from control_plane.store import accounts
from control_plane.store.database import Database
from control_plane.store.tenants import incarnation
from tests.backups.conftest import Litestream

DIGESTS = ["a" * 64, "b" * 64, "c" * 64]


def with_tokens(connection: Connection) -> None:
    """An account with three tokens."""
    incarnation(connection)
    account = accounts.operator_account(connection)
    for digest in DIGESTS:
        accounts.create_token(
            connection,
            account.id,
            name=digest[:1],
            sha256=digest,
            prefix="sk",
            scopes=["tenants:read"],
            expires_at=None,
            actor="test",
        )


@pytest.fixture
async def plane(config: Config) -> AsyncIterator[Database]:
    database = Database(config.sqlalchemy_url, replicated=True)
    await database.open()
    await database.write(with_tokens)
    yield database
    await database.close()


async def revoke(plane: Database, name: str) -> None:
    def work(connection: Connection) -> None:
        account = accounts.operator_account(connection)
        found = next(token for token in accounts.tokens(connection, account.id) if token.name == name)
        accounts.revoke_token(connection, account.id, found.id, actor="test")

    await plane.write(work)


async def test_an_end_is_written_once_and_read_again(config: Config, plane: Database) -> None:
    ends = KeyEnds(config.replica_url)
    await revoke(plane, "a")
    for digest, at in (await plane.read(ends_in)).items():
        await ends.write(digest, at)
    assert await KeyEnds(config.replica_url).read() == await plane.read(ends_in)
    assert list(await KeyEnds(config.replica_url).read()) == ["a" * 64]


async def test_a_past_end_revokes_a_later_one_expires_and_an_earlier_one_that_is_known_stays(plane: Database) -> None:
    now = time.time()

    def work(connection: Connection) -> int:
        return apply_ends(connection, {"a" * 64: now - 5, "b" * 64: now + 500}, now)

    assert await plane.write(work) == 2
    assert await plane.write(work) == 0
    assert await plane.read(ends_in) == {"a" * 64: REVOKED, "b" * 64: round(now + 500, 6)}


async def test_a_revoked_key_stays_revoked_by_a_clock_that_was_set_back(plane: Database) -> None:
    await revoke(plane, "a")
    on_record = await plane.read(ends_in)
    older = "UPDATE account_tokens SET revoked_at = NULL"
    await plane.write(lambda connection: connection.exec_driver_sql(older))
    await plane.write(lambda connection: apply_ends(connection, on_record, time.time() - 3600))
    assert await plane.read(ends_in) == {"a" * 64: REVOKED}


async def test_a_key_that_is_given_more_time_is_not_ended_by_its_earlier_record(
    config: Config, plane: Database
) -> None:
    token = "UPDATE account_tokens SET expires_at = {} WHERE name = 'a'"
    await plane.write(lambda connection: connection.exec_driver_sql(token.format(time.time() + 60)))
    ends = KeyEnds(config.replica_url)
    keeping = asyncio.create_task(ends.keep(plane))
    assert await ends.wait(plane)
    await plane.write(lambda connection: connection.exec_driver_sql(token.format("NULL")))
    assert await ends.wait(plane)
    keeping.cancel()

    on_record = await KeyEnds(config.replica_url).read()
    assert on_record == {"a" * 64: NEVER}
    assert await plane.write(lambda connection: apply_ends(connection, on_record, time.time())) == 0


async def test_a_torn_record_is_of_a_key_that_ended(config: Config) -> None:
    ends = KeyEnds(config.replica_url)
    await ends.write("d" * 64, 1.0)
    folder = Path(config.replica_url.removeprefix("file://")) / "control/ends"
    (folder / ("d" * 64)).write_text("")
    assert await ends.read() == {"d" * 64: 0.0}


def test_the_stores_address_is_shown_without_its_password() -> None:
    assert Places("sftp://backup:hush@host:22/copies").shown == "sftp://host:22/copies"


async def test_another_store_can_only_be_told_by_litestream() -> None:
    assert not KeyEnds("webdav://host/backups").possible


@pytest.mark.slow
async def test_a_lost_database_comes_back_as_a_new_incarnation_and_a_revoked_key_stays_revoked(
    config: Config, plane: Database, litestream: Litestream, backups: LitestreamBackups
) -> None:
    backups.replicate_control(1)
    await backups._register_control(1)
    await backups.sync_control()
    ends = KeyEnds(config.replica_url)
    # The copy ends here; what follows is only beside it.
    litestream.kill(signal.SIGKILL)
    await revoke(plane, "b")
    for digest, at in (await plane.read(ends_in)).items():
        await ends.write(digest, at)
    await plane.close()
    for suffix in ("", "-wal", "-shm"):
        config.database_file.with_name(config.database_file.name + suffix).unlink(missing_ok=True)

    done = await restore_plane(config)

    assert (done.restored_from, done.incarnation, done.keys_ended, done.aside != "") == (1, 2, 1, True)
    restored = Database(config.sqlalchemy_url, replicated=True)
    await restored.open()
    assert await restored.read(incarnation) == 2
    assert list(await restored.read(ends_in)) == ["b" * 64]
    assert (await restored.read(ledger.verify))["valid"]
    entries, _ = await restored.read(lambda connection: ledger.page(connection, limit=1, offset=0))
    assert (entries[0]["event_type"], entries[0]["detail"]["incarnation"]) == ("restore", 2)
    await restored.close()
    assert config.database_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
async def test_the_copy_is_proven_and_what_was_found_is_recorded(
    config: Config, plane: Database, litestream: Litestream, backups: LitestreamBackups
) -> None:
    copy = ControlCopy(plane, backups, 1)
    await backups._register_control(1)
    await backups.sync_control()
    assert (await copy.verify()) is not None
    known = await plane.read(proof)
    assert known.verified_at is not None and known.broken_at is None
    for piece in (config.replicas_dir / "control").rglob("*.ltx"):
        piece.write_bytes(b"\0" * piece.stat().st_size)
    await copy.verify()
    assert await plane.read(proof) == (known.verified_at, (await plane.read(proof)).broken_at)
    assert (await plane.read(proof)).broken_at is not None
    entries, _ = await plane.read(lambda connection: ledger.page(connection, limit=2, offset=0))
    assert [each["action"] for each in entries] == ["backup.broken", "backup.verified"]


@pytest.mark.slow
async def test_what_is_there_is_set_aside_and_nothing_is_touched_while_litestream_runs(
    config: Config, plane: Database, litestream: Litestream, backups: LitestreamBackups
) -> None:
    await backups._register_control(1)
    await backups.sync_control()
    with pytest.raises(ConfigError, match="stop"):
        await restore_plane(config)
    litestream.kill(signal.SIGTERM)
    await plane.close()
    done = await restore_plane(config)
    with closing(sqlite3.connect(Path(done.aside) / "control.db")) as connection:
        assert connection.execute("SELECT count(*) FROM account_tokens").fetchone() == (3,)


@pytest.mark.slow
async def test_a_restore_is_tried_while_everything_runs_and_leaves_no_trace(
    config: Config, plane: Database, backups: LitestreamBackups
) -> None:
    await backups._register_control(1)
    await backups.sync_control()
    before = sorted(path.name for path in config.data.iterdir())
    tried = await restore_plane(config, dry_run=True)
    assert (tried.status, tried.restored_from, tried.incarnation, tried.aside) == ("would_restore", 1, 2, "")
    assert await plane.read(incarnation) == 1
    assert sorted(path.name for path in config.data.iterdir()) == before


@pytest.mark.slow
async def test_without_a_copy_nothing_is_restored(config: Config, plane: Database) -> None:
    await plane.close()
    before = config.database_file.read_bytes()
    with pytest.raises(ConfigError, match="not there"):
        await restore_plane(config)
    config.replicas_dir.mkdir()
    with pytest.raises(ConfigError, match="no copy"):
        await restore_plane(config)
    assert config.database_file.read_bytes() == before
