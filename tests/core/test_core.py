from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from instance.core import key_store, meta
from instance.core.clock import FakeClock
from instance.core.core import Core, CoreOptions
from instance.core.data_folder import DatabaseMissing, DataFolderError
from instance.core.errors import StockyardError
from instance.core.keys import hash_key, make_key
from instance.core.principals import has_scope
from instance.core.records import Record
from instance.core.writer import LedgerEvent
from tests.core.conftest import until

HEAD = "ab" * 32


class LedgerStub:
    """Stands in for Brand: keeps the entries that the core appends in a table."""

    def __init__(self, core: Core) -> None:
        core.writer.append_ledger = self.append

    @staticmethod
    def append(connection: sqlite3.Connection, events: Sequence[LedgerEvent]) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS entries (event_type TEXT, detail TEXT)")
        rows = [(event.event_type, json.dumps(event.detail)) for event in events]
        connection.executemany("INSERT INTO entries VALUES (?, ?)", rows)


async def opened(options: CoreOptions, last_seq: int = 5) -> Core:
    core = await Core.open(options)
    LedgerStub(core)
    core.writer.register(1, lambda connection, records: None)
    await core.start(ledger_head=lambda connection: (last_seq, bytes(32)))
    return core


async def restores(core: Core) -> list[dict[str, Any]]:
    def query(connection: sqlite3.Connection) -> list[dict[str, Any]]:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'entries'").fetchone():
            return []
        return [
            json.loads(row[0]) for row in connection.execute("SELECT detail FROM entries WHERE event_type = 'restore'")
        ]

    return await core.database.read(query)


def hosted(
    options: CoreOptions, tmp_path: Path, epoch: int, head: dict[str, Any] | None = None, *, fresh: bool = True
) -> CoreOptions:
    path = tmp_path / "instance.json"
    content = {
        "epoch": epoch,
        "fresh": fresh,
        "previous_head": head,
        "instance_key": "sy_inst_" + "k" * 43,
        "secret_key": "5" * 64,
    }
    path.write_text(json.dumps(content | {"slug": "acme"}))
    return replace(options, env={"STOCKYARD_INSTANCE_FILE": str(path)})


async def test_the_first_boot_makes_an_admin_and_a_proxy_key_and_the_second_none(options: CoreOptions) -> None:
    core = await opened(options)
    first = core.first_keys
    assert first is not None
    admin = core.keys.lookup(hash_key(first.admin), 1)
    proxy = core.keys.lookup(hash_key(first.proxy), 1)
    assert has_scope(admin, "config:write")
    assert has_scope(proxy, "proxy:call")
    assert not has_scope(proxy, "config:read")
    await core.close()
    core = await opened(options)
    assert core.first_keys is None
    assert core.keys.lookup(hash_key(first.proxy), 1).key_id == proxy.key_id
    await core.close()


async def test_keys_are_not_kept_as_text(options: CoreOptions) -> None:
    core = await opened(options)
    assert core.first_keys is not None
    keys = [core.first_keys.admin.encode(), core.first_keys.proxy.encode()]
    assert "sk-sy" not in repr(core.first_keys)
    await core.close()
    assert core.data_dir.stat().st_mode & 0o777 == 0o700
    for path in core.data_dir.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(key in content for key in keys), path


async def test_the_environments_admin_key_is_the_admin_key_and_a_changed_one_replaces_it(options: CoreOptions) -> None:
    one, two = make_key("admin"), make_key("admin")
    core = await opened(replace(options, env={"STOCKYARD_ADMIN_KEY": one}))
    assert core.first_keys is not None
    assert core.first_keys.admin == ""
    assert core.keys.lookup(hash_key(one), 1).origin == "env"
    await core.close()
    core = await opened(replace(options, env={"STOCKYARD_ADMIN_KEY": two}))
    assert core.keys.lookup(hash_key(two), 1).kind == "admin"
    with pytest.raises(StockyardError):
        core.keys.lookup(hash_key(one), 1)
    await core.close()


async def test_an_admin_key_of_the_environment_that_cannot_be_one_is_refused(options: CoreOptions) -> None:
    core = await Core.open(replace(options, env={"STOCKYARD_ADMIN_KEY": "secret"}))
    with pytest.raises(StockyardError, match="STOCKYARD_ADMIN_KEY"):
        await core.start()
    await core.close()


async def test_a_second_core_on_the_same_folder_is_refused(core: Core, options: CoreOptions) -> None:
    with pytest.raises(DataFolderError, match="in use by process"):
        await Core.open(options)


async def test_the_folder_is_free_again_after_a_failed_open(options: CoreOptions) -> None:
    with pytest.raises(StockyardError, match=r"server\.port"):
        await Core.open(replace(options, flags={"server.port": -1}))
    core = await Core.open(options)
    await core.start()
    await core.close()


async def test_the_wrong_secret_key_is_noticed_at_the_start(options: CoreOptions) -> None:
    core = await opened(options)
    await core.close()
    with pytest.raises(DataFolderError, match="secret key is not the one"):
        await Core.open(replace(options, env={"STOCKYARD_SECRET_KEY": "7" * 64}))


async def test_a_new_database_says_nothing_about_a_restore(options: CoreOptions) -> None:
    core = await opened(options)
    assert core.epoch
    assert await restores(core) == []
    await core.close()


async def test_the_epoch_stays_the_same_from_start_to_start(options: CoreOptions) -> None:
    core = await opened(options)
    epoch = core.epoch
    await core.close()
    core = await opened(options)
    assert core.epoch == epoch
    assert await restores(core) == []
    await core.close()


async def test_a_hosted_instance_has_the_planes_epoch_its_key_and_makes_no_keys(
    options: CoreOptions, tmp_path: Path
) -> None:
    core = await opened(hosted(options, tmp_path, 1))
    assert core.epoch == "1"
    assert core.first_keys is None
    assert len(core.keys) == 0
    plane = core.keys.lookup(hash_key("sy_inst_" + "k" * 43), 1)
    assert has_scope(plane, "instance")
    assert not (core.data_dir / "secret.key").exists()
    await core.close()


async def test_a_start_that_must_find_a_database_makes_none(options: CoreOptions, tmp_path: Path) -> None:
    with pytest.raises(DatabaseMissing, match="must not make one") as caught:
        await Core.open(hosted(options, tmp_path, 1, fresh=False))
    assert caught.value.exit_code == 3
    assert not options.folder().exists()
    await (await opened(hosted(options, tmp_path, 1))).close()
    await (await opened(hosted(options, tmp_path, 1, fresh=False))).close()


async def test_a_database_of_another_epoch_is_taken_over_and_the_ledger_says_so(
    options: CoreOptions, tmp_path: Path
) -> None:
    core = await opened(hosted(options, tmp_path, 1))
    core.journal.append(1, b"x")
    await core.close()
    core = await opened(hosted(options, tmp_path, 2, {"seq": 9, "hash": HEAD}), last_seq=5)
    assert core.epoch == "2"
    assert await restores(core) == [
        {"epoch": 2, "from": 1, "previous_head": {"seq": 9, "hash": HEAD}, "lost_after_seq": 5}
    ]
    assert core.journal.append(1, b"y") == 2
    await core.close()
    core = await opened(hosted(options, tmp_path, 2, {"seq": 9, "hash": HEAD}))
    assert len(await restores(core)) == 1
    await core.close()


async def test_a_restore_that_lost_nothing_does_not_say_it_did(options: CoreOptions, tmp_path: Path) -> None:
    await (await opened(hosted(options, tmp_path, 1))).close()
    core = await opened(hosted(options, tmp_path, 2, {"seq": 5, "hash": HEAD}), last_seq=5)
    assert await restores(core) == [{"epoch": 2, "from": 1, "previous_head": {"seq": 5, "hash": HEAD}}]
    await core.close()


async def test_what_an_epoch_left_in_the_journal_is_folded_before_the_next_one_begins(
    options: CoreOptions, tmp_path: Path
) -> None:
    """A hosted database whose instance was killed, and which goes on under a new epoch, keeps every call that was answered."""
    await (await opened(hosted(options, tmp_path, 1))).close()
    core = await Core.open(hosted(options, tmp_path, 1))
    for word in (b"one", b"two", b"three"):
        core.journal.append(1, word)
    await core.close()
    folded: list[tuple[str, bytes]] = []
    core = await Core.open(hosted(options, tmp_path, 2))

    def fold(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        folded.extend((meta.get(connection, meta.EPOCH), record.parts[0]) for record in records)

    core.writer.register(1, fold)
    LedgerStub(core)
    await core.start()
    assert folded == [("1", b"one"), ("1", b"two"), ("1", b"three")]
    assert core.journal.append(1, b"four") == 4
    await core.writer.drain()
    assert folded[3:] == [("2", b"four")]
    await core.close()
    assert not list((core.data_dir / "journal").glob("*.seg")) and not (core.data_dir / "journal" / "aside").exists()
    core = await Core.open(hosted(options, tmp_path, 2))
    assert core.journal.append(1, b"five") == 5
    await core.close()


async def test_what_the_journal_holds_of_an_epoch_that_is_not_the_databases_is_set_aside_and_not_folded(
    options: CoreOptions, tmp_path: Path
) -> None:
    folded: list[int] = []
    core = await Core.open(hosted(options, tmp_path, 1))
    core.journal.append(1, b"never folded")
    await core.close()
    journal = core.data_dir / "journal"
    (journal / "1-00000001.seg").rename(journal / "9-00000001.seg")
    core = await Core.open(hosted(options, tmp_path, 2))
    core.writer.register(1, lambda connection, records: folded.extend(record.sequence for record in records))
    LedgerStub(core)
    await core.start()
    core.journal.append(1, b"folded")
    await core.writer.drain()
    assert len(folded) == 1
    assert [path.name for path in (journal / "aside").iterdir()] == ["9-00000001.seg"]
    await core.close()


async def test_settings_changed_by_the_api_hold_and_survive_a_restart(options: CoreOptions) -> None:
    core = await opened(options)
    await core.change_settings({"limits.tools": 7, "server.cors_origins": ["https://a.example"]})
    assert core.settings.limits.tools == 7
    await core.close()
    core = await opened(options)
    assert (core.settings.limits.tools, core.sources["limits.tools"]) == (7, "api")
    await core.change_settings({"limits.tools": None})
    assert core.settings.limits.tools == 512
    assert "limits.tools" not in core.sources
    await core.close()


async def test_settings_that_do_not_hold_change_nothing(core: Core) -> None:
    with pytest.raises(StockyardError, match=r"limits\.tools"):
        await core.change_settings({"limits.tools": 0, "limits.messages": 5})
    assert core.settings.limits.messages == 4096
    assert await core.database.read(lambda connection: connection.execute("SELECT * FROM settings").fetchall()) == []


async def test_what_the_environment_sets_the_api_cannot_change(options: CoreOptions) -> None:
    core = await opened(replace(options, env={"STOCKYARD_LIMITS__TOOLS": "9"}))
    with pytest.raises(StockyardError) as caught:
        await core.change_settings({"limits.tools": 7})
    assert caught.value.code == "set_by_env"
    await core.close()


async def test_a_key_that_is_revoked_is_refused_after_the_reload(core: Core) -> None:
    assert core.first_keys is not None
    digest = hash_key(core.first_keys.proxy)
    key_id = core.keys.lookup(digest, 1).key_id
    assert isinstance(key_id, int)
    assert await core.writer.write(lambda connection: key_store.revoke(connection, key_id, 5))
    await core.reload_keys()
    with pytest.raises(StockyardError) as caught:
        core.keys.lookup(digest, 1)
    assert caught.value.code == "key_revoked"


async def test_when_a_key_was_last_used_is_written_down_each_minute(options: CoreOptions) -> None:
    clock = FakeClock()
    core = await opened(replace(options, clock=clock))
    assert core.first_keys is not None
    used_at = clock.wall_ns()
    key_id = core.keys.lookup(hash_key(core.first_keys.proxy), used_at).key_id
    await asyncio.sleep(0)
    clock.advance(61)
    await until(lambda: not core.keys.last_used_ns)
    await core.writer.write(lambda connection: None)
    assert isinstance(key_id, int)
    assert (await core.database.read(key_store.times))[key_id][2] == used_at
    await core.close()


async def test_the_data_folder_is_the_environments_unless_a_flag_names_one(tmp_path: Path) -> None:
    env = {"STOCKYARD_DATA": str(tmp_path / "env")}
    assert CoreOptions(env=env).folder() == tmp_path / "env"
    assert CoreOptions(data_dir=tmp_path / "flag", env=env).folder() == tmp_path / "flag"
    assert CoreOptions(env={}).folder() == Path.home() / ".stockyard"


async def test_a_limit_of_the_settings_is_the_databases(options: CoreOptions) -> None:
    core = await opened(replace(options, flags={"max_database_bytes": 1}))
    await until(lambda: not core.journal.available)
    assert "max_database_bytes" in core.journal.reason
    await core.close()
