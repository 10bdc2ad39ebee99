"""The table of modules: what is stored of those that were switched or configured while the instance ran."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple


class ModuleRow(NamedTuple):
    """A module's name, whether it is on (`None`: as by default), its settings as JSON, its place within its group, and when it
    was changed (ns of the wall clock)."""

    name: str
    enabled: int | None
    config: str
    priority: float | None
    updated_at_ns: int


def read_rows(conn: sqlite3.Connection) -> list[ModuleRow]:
    """Every row there is."""
    return [
        ModuleRow(*row) for row in conn.execute("SELECT name, enabled, config, priority, updated_at_ns FROM modules")
    ]


def write_rows(conn: sqlite3.Connection, *, rows: Sequence[ModuleRow]) -> None:
    """Store these rows in place of those of the same modules."""
    conn.executemany(
        "INSERT INTO modules (name, enabled, config, priority, updated_at_ns) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (name) DO UPDATE SET enabled = excluded.enabled, config = excluded.config, "
        "priority = excluded.priority, updated_at_ns = excluded.updated_at_ns",
        rows,
    )
