from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from instance.core import data_folder
from instance.core.data_folder import DataFolderError, FolderLock
from instance.core.database import Database
from instance.core.migrate import migrate, migrations_in, schema_version, statements


def component(folder: Path, **scripts: str) -> tuple[str, Path]:
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (folder / f"{name[1:]}.sql").write_text(script)
    return folder.name, folder


def test_a_new_database_is_made_for_its_owner_alone_and_has_the_cores_tables(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    connection = database.open()
    assert database.is_new
    assert (tmp_path / "a.db").stat().st_mode & 0o777 == 0o600
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert {"meta", "journal_position", "keys", "settings", "schema_migrations"} <= names
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    database.close()


def test_migrations_are_applied_once_and_later_ones_are_added(tmp_path: Path) -> None:
    app = component(tmp_path / "app", _0001_first="CREATE TABLE one (x); INSERT INTO one VALUES (1);")
    for _ in range(2):
        database = Database(tmp_path / "a.db", [app])
        database.open().close()
        database.close()
    component(tmp_path / "app", _0002_second="ALTER TABLE one ADD COLUMN y;")
    database = Database(tmp_path / "a.db", [app])
    connection = database.open()
    assert not database.is_new
    assert connection.execute("SELECT x, y FROM one").fetchall() == [(1, None)]
    assert schema_version(connection) == 3
    connection.close()
    database.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    app = component(tmp_path / "app", _0001_bad="CREATE TABLE one (x); CREATE TABLE one (x);")
    with pytest.raises(DataFolderError, match="0001_bad"):
        Database(tmp_path / "a.db", [app]).open()
    connection = sqlite3.connect(tmp_path / "a.db")
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'one'").fetchone() == (0,)
    connection.close()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    newer = component(tmp_path / "app", _0001_a="CREATE TABLE a (x);", _0002_b="CREATE TABLE b (x);")
    migrate(connection, [newer])
    (tmp_path / "app" / "0002_b.sql").unlink()
    with pytest.raises(DataFolderError, match="newer version"):
        migrate(connection, [newer])


def test_a_gap_in_the_numbers_is_refused(tmp_path: Path) -> None:
    _, folder = component(tmp_path / "app", _0001_a="", _0003_c="")
    with pytest.raises(ValueError, match="0002"):
        migrations_in(folder)


def test_a_trigger_with_semicolons_is_one_statement() -> None:
    script = "-- a comment\nCREATE TABLE a (x);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM a;\nEND;\n"
    assert len(statements(script)) == 2


async def test_reads_see_one_snapshot_and_cannot_write(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    connection = database.open()

    def writes(reading: sqlite3.Connection) -> None:
        reading.execute("CREATE TABLE b (x)")

    def reads_twice(reading: sqlite3.Connection) -> tuple[int, int]:
        count = "SELECT count(*) FROM meta"
        before = reading.execute(count).fetchone()[0]
        connection.execute("INSERT INTO meta VALUES ('a', 'b')")
        return before, reading.execute(count).fetchone()[0]

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.read(writes)
    before, after = await database.read(reads_twice)
    assert before == after
    assert await database.read(lambda reading: reading.execute("SELECT count(*) FROM meta").fetchone()[0]) == after + 1
    database.close()
    connection.close()


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"this is a text, and a rather long one too" * 100)
    with pytest.raises(DataFolderError, match="file is not a database"):
        Database(tmp_path / "a.db").open()


def test_litestream_keeps_the_checkpoints_where_it_owns_them(tmp_path: Path) -> None:
    for owns, pages in ((True, 0), (False, 1000)):
        database = Database(tmp_path / f"{owns}.db", litestream_owns_checkpoints=owns)
        connection = database.open()
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (pages,)
        connection.close()
        database.close()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    program = (
        "from instance.core.data_folder import FolderLock, DataFolderError; import sys, pathlib\n"
        "try: FolderLock(pathlib.Path(sys.argv[1]))\n"
        "except DataFolderError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert f"in use by process {os.getpid()}" in said.stdout
    lock.release()
    FolderLock(tmp_path).release()


def test_a_network_file_system_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_folder.network_file_system(tmp_path) == ""
    monkeypatch.setattr(data_folder, "network_file_system", lambda folder: "NFS")
    with pytest.raises(DataFolderError, match="NFS"):
        Database(tmp_path / "a.db").open()
