from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from instance.core import backup
from instance.core.core import Core, CoreOptions
from instance.core.data_folder import DataFolderError
from tests.core.test_core import LedgerStub, opened, restores


def head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    return 8, b"\xab" * 32


async def with_mark(core: Core, mark: str) -> None:
    await core.change_settings({"prices.mock/gpt.in_usd_per_mtok": 1, f"modules.{mark}.enabled": True})


def marks(core: Core) -> list[str]:
    return sorted(core.settings.modules)


async def test_a_backup_of_a_running_instance_is_restored_and_the_ledger_says_so(
    options: CoreOptions, tmp_path: Path
) -> None:
    core = await opened(options)
    await with_mark(core, "before")
    steps: list[tuple[int, int]] = []
    size = backup.back_up(core.data_dir, tmp_path / "copy.db", lambda done, pages: steps.append((done, pages)))
    assert size == (tmp_path / "copy.db").stat().st_size
    assert steps[-1][0] == steps[-1][1]
    await with_mark(core, "after")
    epoch = core.epoch
    await core.close()

    kept = backup.restore(core.data_dir, tmp_path / "copy.db", head)
    assert kept is not None
    assert kept.exists()
    core = await opened(options, last_seq=5)
    assert marks(core) == ["before"]
    assert core.epoch != epoch
    expected: dict[str, Any] = {"epoch": core.epoch, "from": epoch, "lost_after_seq": 5}
    assert await restores(core) == [expected | {"previous_head": {"seq": 8, "hash": "ab" * 32}}]
    await core.close()
    core = await opened(options)
    assert len(await restores(core)) == 1
    await core.close()


async def test_what_the_journal_held_when_it_was_restored_is_set_aside(options: CoreOptions, tmp_path: Path) -> None:
    core = await opened(options)
    backup.back_up(core.data_dir, tmp_path / "copy.db")
    await core.close()
    core = await Core.open(options)
    core.journal.append(1, b"not folded")
    await core.close()
    backup.restore(core.data_dir, tmp_path / "copy.db", head)
    core = await Core.open(options)
    LedgerStub(core)
    core.writer.register(1, lambda connection, records: pytest.fail("a record of another epoch was folded"))
    await core.start()
    await core.writer.drain()
    assert len(list((core.data_dir / "journal" / "aside").iterdir())) == 1
    await core.close()


async def test_a_backup_brings_up_a_folder_that_has_no_database(options: CoreOptions, tmp_path: Path) -> None:
    core = await opened(options)
    await with_mark(core, "moved")
    backup.back_up(core.data_dir, tmp_path / "copy.db")
    await core.close()
    there = tmp_path / "elsewhere"
    assert backup.restore(there, tmp_path / "copy.db", head) is None
    (there / "secret.key").write_bytes((core.data_dir / "secret.key").read_bytes())
    moved = await opened(CoreOptions(data_dir=there, env={}))
    assert marks(moved) == ["moved"]
    await moved.close()


async def test_a_restore_under_a_running_instance_is_refused(core: Core, tmp_path: Path) -> None:
    backup.back_up(core.data_dir, tmp_path / "copy.db")
    with pytest.raises(DataFolderError, match="in use by process"):
        backup.restore(core.data_dir, tmp_path / "copy.db", head)


async def test_a_backup_never_overwrites_a_file(core: Core, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(DataFolderError, match="exists already"):
        backup.back_up(core.data_dir, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


async def test_a_file_that_is_no_backup_is_refused_and_the_database_stays(options: CoreOptions, tmp_path: Path) -> None:
    core = await opened(options)
    await with_mark(core, "kept")
    await core.close()
    (tmp_path / "text").write_text("no database " * 1000)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE meta (name, value)")
    other.commit()
    other.close()
    for name in ("text", "other.db", "missing"):
        with pytest.raises(DataFolderError):
            backup.restore(core.data_dir, tmp_path / name, head)
    core = await opened(options)
    assert marks(core) == ["kept"]
    await core.close()
