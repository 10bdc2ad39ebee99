"""Inserting many rows by few steps of SQLite.

`executemany` steps once a row, and Python gives its lock away around each step: to the thread that answers calls that is
one contest for the lock a row. One statement with the values of many rows is one step. It is also cheaper by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

ROWS = 32
"""In one statement. Binding them holds Python's lock: 32 rows of 50 values for about 150 us."""

Row = Sequence[Any]


class BulkInsert:
    """Inserts rows into one table.

    Blobs are best given as `bytearray`: `sqlite3` looks for an adapter for each value that is `bytes`, `bool` or `None`,
    which costs several times the binding.
    """

    __slots__ = ("_many", "_one")

    def __init__(self, table: str, columns: Sequence[str], *, or_ignore: bool = False) -> None:
        row = f"({', '.join('?' * len(columns))})"
        begin = f"INSERT {'OR IGNORE ' if or_ignore else ''}INTO {table} ({', '.join(columns)}) VALUES "
        self._one = begin + row
        self._many = begin + ", ".join([row] * ROWS)

    def __call__(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Insert `rows` in their order."""
        whole = len(rows) - len(rows) % ROWS
        many, execute = self._many, connection.execute
        for start in range(0, whole, ROWS):
            execute(many, tuple(chain.from_iterable(rows[start : start + ROWS])))
        if whole < len(rows):
            connection.executemany(self._one, rows[whole:])
