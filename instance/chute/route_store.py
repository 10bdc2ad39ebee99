"""The tables `routes` and `aliases`: rows read and written, each write with its ledger entry."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.route_table import made
from instance.chute.routes import Route
from instance.core.writer import LedgerEvent

if TYPE_CHECKING:
    from instance.core.core import Core

_COLUMNS = "pattern, path, targets, fallback, sticky, hedge_after_ms, priority, enabled"


async def stored_routes(core: Core) -> list[Route]:
    """Every row, by id."""

    def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
        return connection.execute(f"SELECT id, {_COLUMNS} FROM routes ORDER BY id").fetchall()

    return [_from_row(row) for row in await core.database.read(read)]


def _from_row(row: tuple[Any, ...]) -> Route:
    route_id, pattern, path, targets, fallback, sticky, hedge_after_ms, priority, enabled = row
    return made(
        route_id,
        {
            "pattern": pattern,
            "path": path,
            "targets": orjson.loads(targets),
            "fallback": orjson.loads(fallback),
            "sticky": bool(sticky),
            "hedge_after_ms": hedge_after_ms,
            "priority": priority,
            "enabled": bool(enabled),
        },
    )


def _row(route: Route) -> tuple[Any, ...]:
    targets = [{"target": one.target, "weight": one.weight, "region": one.region} for one in route.targets]
    return (
        route.pattern,
        route.path,
        orjson.dumps(targets).decode(),
        orjson.dumps(route.fallback).decode(),
        route.sticky,
        route.hedge_after_ms,
        route.priority,
        route.enabled,
    )


async def insert_route(core: Core, route: Route, events: list[LedgerEvent], event: Any) -> int:
    """Stores a new route, whatever its id; gives the one it got. `event(id)` is its ledger entry."""
    now = core.clock.wall_ns()

    def write(connection: sqlite3.Connection) -> int:
        cursor = connection.execute(
            f"INSERT INTO routes ({_COLUMNS}, created_at_ns, updated_at_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*_row(route), now, now),
        )
        route_id = cursor.lastrowid
        assert route_id is not None
        events.append(event(route_id))
        return route_id

    return await core.writer.write(write, events)


async def update_route(core: Core, route: Route, event: LedgerEvent) -> None:
    """Stores a changed route under its id."""
    now = core.clock.wall_ns()

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE routes SET pattern = ?, path = ?, targets = ?, fallback = ?, sticky = ?, hedge_after_ms = ?, "
            "priority = ?, enabled = ?, updated_at_ns = ? WHERE id = ?",
            (*_row(route), now, route.id),
        )

    await core.writer.write(write, [event])


async def delete_route(core: Core, route_id: int, event: LedgerEvent) -> None:
    """Removes a route."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM routes WHERE id = ?", (route_id,))

    await core.writer.write(write, [event])


async def stored_aliases(core: Core) -> dict[str, dict[str, Any]]:
    """Every stored alias by name."""

    def read(connection: sqlite3.Connection) -> list[tuple[str, str]]:
        return connection.execute("SELECT alias, entry FROM aliases ORDER BY alias").fetchall()

    return {alias: orjson.loads(entry) for alias, entry in await core.database.read(read)}


async def put_alias(core: Core, alias: str, entry: dict[str, Any], event: LedgerEvent) -> None:
    """Stores an alias, new or changed."""
    now = core.clock.wall_ns()
    row = (alias, orjson.dumps(entry).decode(), now, now)

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO aliases (alias, entry, created_at_ns, updated_at_ns) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (alias) DO UPDATE SET entry = excluded.entry, updated_at_ns = excluded.updated_at_ns",
            row,
        )

    await core.writer.write(write, [event])


async def delete_alias(core: Core, alias: str, event: LedgerEvent) -> None:
    """Removes an alias."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM aliases WHERE alias = ?", (alias,))

    await core.writer.write(write, [event])
