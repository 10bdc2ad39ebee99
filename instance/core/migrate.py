"""Numbered SQL migrations, a folder for each component, each applied in one transaction."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from instance.core.data_folder import DataFolderError

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    component  TEXT NOT NULL,
    version    INTEGER NOT NULL,
    applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (component, version)
) WITHOUT ROWID
"""


def migrate(connection: sqlite3.Connection, components: Sequence[tuple[str, Path]]) -> int:
    """Apply what the database lacks, in the order of `components`; how many migrations that were.

    Raises `DataFolderError` when the database is newer than this program, or when one does not apply.
    """
    connection.execute(_TABLE)
    applied = 0
    present: dict[str, set[int]] = {}
    for component, version in connection.execute("SELECT component, version FROM schema_migrations"):
        present.setdefault(component, set()).add(version)
    for component, folder in components:
        have = present.get(component, set())
        known = migrations_in(folder)
        if have and max(have) > len(known):
            raise DataFolderError(
                f"the database was written by a newer version of Stockyard ({component} is at {max(have)}, this program "
                f"knows {len(known)}); install that version or a later one"
            )
        for version, path in enumerate(known, 1):
            if version not in have:
                _apply(connection, component, version, path)
                applied += 1
    return applied


def migrations_in(folder: Path) -> list[Path]:
    """A folder's migrations in order, the first being number 1. Raises `ValueError` for a gap or a strange name."""
    paths = sorted(folder.glob("*.sql"))
    for number, path in enumerate(paths, 1):
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != number:
            raise ValueError(f"{path} is not migration {number:04d}_what.sql")
    return paths


def schema_version(connection: sqlite3.Connection) -> int:
    """How many migrations the database has: what `GET /api/version` calls its schema."""
    (count,) = connection.execute("SELECT count(*) FROM schema_migrations").fetchone()
    return int(count)


def _apply(connection: sqlite3.Connection, component: str, version: int, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements(path.read_text("utf-8")):
            connection.execute(statement)
        connection.execute("INSERT INTO schema_migrations (component, version) VALUES (?, ?)", (component, version))
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.DatabaseError):
            raise DataFolderError(
                f"the database cannot be brought up to date: {component}/{path.name}: {error}"
            ) from error
        raise


def statements(script: str) -> list[str]:
    """The script's single statements; `executescript` would commit between them."""
    found, pending = [], ""
    for piece in script.split(";")[:-1]:
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            found.append(pending.strip())
            pending = ""
    return found
