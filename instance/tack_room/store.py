"""SQL of the templates' tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from instance.tack_room.template import Template, Variant

_HEADS = """
SELECT t.id, t.slug, t.name, t.description, t.tags, t.status, t.created_at_ns, t.updated_at_ns, v.version,
       json_extract(v.content, '$.model')
FROM templates t
JOIN template_versions v ON v.template_id = t.id
    AND v.version = (SELECT max(version) FROM template_versions WHERE template_id = t.id)
"""


def templates(connection: sqlite3.Connection, template_id: int | None = None) -> list[Template]:
    """Every template, or the one of an id; newest first."""
    where, bound = ("", ()) if template_id is None else (" WHERE t.id = ?", (template_id,))
    rows = connection.execute(f"{_HEADS}{where} ORDER BY t.id DESC", bound).fetchall()
    labels: dict[int, dict[str, tuple[Variant, ...]]] = {}
    where = "" if template_id is None else " WHERE template_id = ?"
    for owner, label, variants in connection.execute(
        f"SELECT template_id, label, variants FROM template_labels{where} ORDER BY template_id, label", bound
    ):
        labels.setdefault(owner, {})[label] = tuple(Variant(*each) for each in orjson.loads(variants))
    return [
        Template(ident, slug, name, description, tuple(orjson.loads(tags)), status, version, model or "", labels.get(ident, {}), created, updated)
        for ident, slug, name, description, tags, status, created, updated, version, model in rows
    ]  # fmt: skip


def add_template(connection: sqlite3.Connection, fields: Mapping[str, Any], now_ns: int) -> int:
    """Insert a template without versions; its id."""
    cursor = connection.execute(
        "INSERT INTO templates (slug, name, description, tags, status, created_at_ns, updated_at_ns) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            fields["slug"],
            fields["name"],
            fields["description"],
            orjson.dumps(fields["tags"]).decode(),
            fields["status"],
            now_ns,
            now_ns,
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def change_template(connection: sqlite3.Connection, template_id: int, fields: Mapping[str, Any], now_ns: int) -> None:
    """Set some of name, description, tags, status."""
    values = {name: orjson.dumps(value).decode() if name == "tags" else value for name, value in fields.items()}
    sets = "".join(f"{name} = ?, " for name in values)
    connection.execute(
        f"UPDATE templates SET {sets}updated_at_ns = ? WHERE id = ?", (*values.values(), now_ns, template_id)
    )


def remove_template(connection: sqlite3.Connection, template_id: int) -> None:
    """Delete it with its versions, labels and counts."""
    connection.execute("DELETE FROM templates WHERE id = ?", (template_id,))


def add_version(
    connection: sqlite3.Connection, template_id: int, version: int, content: bytes, author: str, note: str, now_ns: int
) -> None:
    connection.execute(
        "INSERT INTO template_versions (template_id, version, content, author, change_note, created_at_ns) VALUES (?, ?, ?, ?, ?, ?)",
        (template_id, version, content.decode(), author, note, now_ns),
    )


def version_row(connection: sqlite3.Connection, template_id: int, version: int) -> dict[str, Any] | None:
    """One version with its content, decoded; `None` when there is none of that number."""
    row = connection.execute(
        "SELECT content, author, change_note, created_at_ns FROM template_versions WHERE template_id = ? AND version = ?",
        (template_id, version),
    ).fetchone()
    if row is None:
        return None
    return {"content": orjson.loads(row[0]), "author": row[1], "change_note": row[2], "created_at_ns": row[3]}


def version_rows(
    connection: sqlite3.Connection, template_id: int, before: int, limit: int, offset: int
) -> list[dict[str, Any]]:
    """Versions below `before`, newest first, without their content."""
    return [
        {"version": version, "model": model or "", "author": author, "change_note": note, "created_at_ns": created}
        for version, model, author, note, created in connection.execute(
            "SELECT version, json_extract(content, '$.model'), author, change_note, created_at_ns FROM template_versions "
            "WHERE template_id = ? AND version < ? ORDER BY version DESC LIMIT ? OFFSET ?",
            (template_id, before, limit, offset),
        )
    ]


def set_label(
    connection: sqlite3.Connection, template_id: int, label: str, variants: tuple[Variant, ...], now_ns: int
) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO template_labels (template_id, label, variants, updated_at_ns) VALUES (?, ?, ?, ?)",
        (template_id, label, orjson.dumps([list(each) for each in variants]).decode(), now_ns),
    )


def remove_label(connection: sqlite3.Connection, template_id: int, label: str) -> None:
    connection.execute("DELETE FROM template_labels WHERE template_id = ? AND label = ?", (template_id, label))


def count_calls(connection: sqlite3.Connection, counts: Mapping[tuple[int, int, int], int]) -> None:
    """Add calls by (template, version, day); those of templates that are gone are dropped."""
    connection.executemany(
        "INSERT INTO template_days (template_id, version, day, calls) "
        "SELECT id, ?, ?, ? FROM templates WHERE id = ? "
        "ON CONFLICT (template_id, version, day) DO UPDATE SET calls = calls + excluded.calls",
        [(version, day, calls, template_id) for (template_id, version, day), calls in counts.items()],
    )


def calls_since(connection: sqlite3.Connection, day: int) -> dict[int, int]:
    """Calls of each template from a day on."""
    return dict(
        connection.execute(
            "SELECT template_id, sum(calls) FROM template_days WHERE day >= ? GROUP BY template_id", (day,)
        )
    )


def forget_days(connection: sqlite3.Connection, before_day: int) -> None:
    connection.execute("DELETE FROM template_days WHERE day < ?", (before_day,))
