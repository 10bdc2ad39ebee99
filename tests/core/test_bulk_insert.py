from __future__ import annotations

import sqlite3

import pytest

from instance.core.bulk_insert import ROWS, BulkInsert

COLUMNS = ("n", "text", "data")


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE things (n INTEGER PRIMARY KEY, text TEXT, data BLOB)")
    return connection


@pytest.mark.parametrize("count", [0, 1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 5])
def test_any_number_of_rows_is_inserted_in_order(connection: sqlite3.Connection, count: int) -> None:
    rows = [(n, f"text {n}", bytearray(b"%d" % n)) for n in range(1, count + 1)]
    BulkInsert("things", COLUMNS)(connection, rows)
    found = connection.execute("SELECT * FROM things ORDER BY rowid").fetchall()
    assert found == [(n, text, bytes(data)) for n, text, data in rows]


def test_rows_that_are_there_may_be_left_out(connection: sqlite3.Connection) -> None:
    rows = [(n, "first", b"") for n in range(1, ROWS + 3)]
    BulkInsert("things", COLUMNS)(connection, rows[: ROWS // 2])
    BulkInsert("things", COLUMNS, or_ignore=True)(connection, rows)
    assert connection.execute("SELECT count(*) FROM things").fetchone() == (len(rows),)
