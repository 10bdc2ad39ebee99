"""SQL of the budgets table."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from instance.billing.budget import Budget

_COLUMNS = "id, name, scope, limit_nano, period, rolling, timezone, action, warn_at_pct, enabled, created_at_ns, updated_at_ns, reset_at_ns"


def _budget(row: tuple[Any, ...]) -> Budget:
    (ident, name, scope, limit, period, rolling, timezone, action, warn, enabled, created, updated, reset) = row
    return Budget(
        id=ident,
        name=name,
        scope=orjson.loads(scope),
        limit_nano=limit,
        period=period,
        rolling=bool(rolling),
        timezone=timezone,
        action=action,
        warn_at_pct=tuple(orjson.loads(warn)),
        enabled=bool(enabled),
        created_at_ns=created,
        updated_at_ns=updated,
        reset_at_ns=reset,
    )


def budgets(connection: sqlite3.Connection) -> list[Budget]:
    """Every budget, newest first."""
    return [
        _budget(row)
        for row in connection.execute(f"SELECT {_COLUMNS} FROM budgets ORDER BY created_at_ns DESC, id DESC")
    ]


def save(connection: sqlite3.Connection, budget: Budget) -> None:
    """Insert the budget, or change the one of the same id."""
    connection.execute(
        f"INSERT OR REPLACE INTO budgets ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            budget.id,
            budget.name,
            orjson.dumps(dict(budget.scope), option=orjson.OPT_SORT_KEYS).decode(),
            budget.limit_nano,
            budget.period,
            budget.rolling,
            budget.timezone,
            budget.action,
            orjson.dumps(list(budget.warn_at_pct)).decode(),
            budget.enabled,
            budget.created_at_ns,
            budget.updated_at_ns,
            budget.reset_at_ns,
        ),
    )


def delete(connection: sqlite3.Connection, budget_id: str) -> None:
    connection.execute("DELETE FROM budgets WHERE id = ?", (budget_id,))
