"""SQL of policies and of what calls met of them."""

from __future__ import annotations

import sqlite3
from typing import Any

from instance.brand.policy import Conditions, Policy, Scope
from instance.core.timestamps import rfc3339

_COLUMNS = (
    "id",
    "name",
    "version",
    "action",
    "description",
    "message",
    "replacement",
    "retention_days",
    "scope",
    "conditions",
    "dry_run",
    "enabled",
    "created_at_ns",
    "updated_at_ns",
)
_VIOLATION = (
    "policy_id",
    "name",
    "version",
    "condition",
    "action",
    "dry_run",
    "trace_id",
    "key_id",
    "team_id",
    "model",
    "created_at_ns",
)


def policies(connection: sqlite3.Connection) -> list[Policy]:
    """Every policy, the oldest first."""
    rows = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM policies ORDER BY created_at_ns, id")
    return [_policy(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def _policy(row: dict[str, Any]) -> Policy:
    row["scope"] = Scope.model_validate_json(row["scope"])
    row["conditions"] = Conditions.model_validate_json(row["conditions"])
    row["dry_run"], row["enabled"] = bool(row["dry_run"]), bool(row["enabled"])
    return Policy(**row)


def save(connection: sqlite3.Connection, policy: Policy) -> None:
    """Store a policy in place of its earlier version."""
    values = [getattr(policy, name) for name in _COLUMNS]
    values[_COLUMNS.index("scope")] = policy.scope.model_dump_json(exclude_defaults=True, by_alias=True)
    values[_COLUMNS.index("conditions")] = policy.conditions.model_dump_json(exclude_defaults=True)
    connection.execute(
        f"INSERT OR REPLACE INTO policies ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})", values
    )


def delete(connection: sqlite3.Connection, policy_id: str) -> None:
    """Remove a policy; what calls met of it stays."""
    connection.execute("DELETE FROM policies WHERE id = ?", (policy_id,))


def add_violations(connection: sqlite3.Connection, rows: list[dict[str, Any]]) -> None:
    """Store what calls met."""
    connection.executemany(
        f"INSERT INTO policy_violations ({', '.join(_VIOLATION)}) VALUES ({', '.join('?' * len(_VIOLATION))})",
        [[row.get(name, "") for name in _VIOLATION] for row in rows],
    )


def prune_violations(connection: sqlite3.Connection, before_ns: int) -> None:
    """Remove what is older, a bounded part of it."""
    connection.execute(
        "DELETE FROM policy_violations WHERE id IN "
        "(SELECT id FROM policy_violations WHERE created_at_ns < ? ORDER BY created_at_ns LIMIT 1000)",
        (before_ns,),
    )


def hits(connection: sqlite3.Connection, since_ns: int) -> dict[str, tuple[int, str | None]]:
    """By policy: how often it was met since then, and when last (RFC 3339)."""
    query = "SELECT policy_id, sum(created_at_ns >= ?), max(created_at_ns) FROM policy_violations GROUP BY policy_id"
    return {name: (count, rfc3339(last)) for name, count, last in connection.execute(query, (since_ns,))}


def violations(connection: sqlite3.Connection, policy_id: str, limit: int, offset: int) -> list[dict[str, Any]]:
    """What calls met of a policy, the newest first."""
    rows = connection.execute(
        f"SELECT {', '.join(_VIOLATION)} FROM policy_violations WHERE policy_id = ? "
        "ORDER BY created_at_ns DESC, id DESC LIMIT ? OFFSET ?",
        (policy_id, limit, offset),
    )
    found = []
    for row in rows:
        record = dict(zip(_VIOLATION, row, strict=True))
        record["dry_run"] = bool(record["dry_run"])
        record["created_at"] = rfc3339(record.pop("created_at_ns"))
        found.append(record)
    return found
