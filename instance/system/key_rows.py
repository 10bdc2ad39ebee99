"""Keys and users as the API shows them, and the SQL behind it beside the core's."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import orjson

from instance.core.money import nano_to_usd
from instance.core.principals import ANY_CLIENT, CLIENT_TEAM, client_of
from instance.core.timestamps import rfc3339, rfc3339_or_none

_COLUMNS = (
    "id, prefix, name, kind, scopes, user_id, team_id, models, ip_allow, rpm, budget_month_nano, "
    "created_at_ns, expires_at_ns, revoked_at_ns, last_used_ns, origin"
)
_NAMES = (*_COLUMNS.split(", "), "rotated_to")
_SELECT = (
    f"SELECT {_COLUMNS}, (SELECT successor FROM key_rotations WHERE key_rotations.key_id = keys.id) FROM keys WHERE "
)


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys a list shows; `None` does not narrow."""

    user: str | None = None
    team: str | None = None
    kind: str | None = None
    unused_since_ns: int | None = None
    include_revoked: bool = True


def keys(connection: sqlite3.Connection, narrowed: KeyFilter) -> list[dict[str, Any]]:
    """The key objects, oldest first."""
    terms, parameters = ["1"], list[Any]()
    for column, value in (("user_id", narrowed.user), ("team_id", narrowed.team), ("kind", narrowed.kind)):
        if value is not None:
            terms.append(f"{column} = ?")
            parameters.append(value)
    if narrowed.unused_since_ns is not None:
        terms.append("max(last_used_ns, created_at_ns) < ?")
        parameters.append(narrowed.unused_since_ns)
    if not narrowed.include_revoked:
        terms.append("revoked_at_ns = 0")
    rows = connection.execute(f"{_SELECT}{' AND '.join(terms)} ORDER BY id", parameters)
    return [_key(row) for row in rows]


def key(connection: sqlite3.Connection, key_id: int) -> dict[str, Any] | None:
    """One key object."""
    row = connection.execute(f"{_SELECT}id = ?", (key_id,)).fetchone()
    return _key(row) if row else None


def name_taken(connection: sqlite3.Connection, user: str, name: str) -> bool:
    """Whether the user has a working key of this name."""
    query = (
        "SELECT 1 FROM keys WHERE user_id = ? AND name = ? AND revoked_at_ns = 0 "
        "AND id NOT IN (SELECT key_id FROM key_rotations)"
    )
    return connection.execute(query, (user, name)).fetchone() is not None


def set_rotated(connection: sqlite3.Connection, key_id: int, successor: int) -> None:
    """Note which key took the place of another."""
    connection.execute("INSERT OR REPLACE INTO key_rotations (key_id, successor) VALUES (?, ?)", (key_id, successor))


def add_user(connection: sqlite3.Connection, email: str, name: str, now_ns: int) -> int | None:
    """The id of a new user; `None` when the address is taken."""
    cursor = connection.execute(
        "INSERT INTO users (email, name, created_at_ns) VALUES (?, ?, ?) ON CONFLICT (email) DO NOTHING",
        (email, name, now_ns),
    )
    return cursor.lastrowid if cursor.rowcount else None


def users(connection: sqlite3.Connection, user_id: int | None = None) -> list[dict[str, Any]]:
    """Every user object, or the one with this id."""
    rows = connection.execute(
        "SELECT id, email, name, disabled, created_at_ns, "
        "(SELECT count(*) FROM keys WHERE user_id = CAST(users.id AS TEXT) AND revoked_at_ns = 0), "
        "(SELECT max(last_used_ns) FROM keys WHERE user_id = CAST(users.id AS TEXT)) "
        "FROM users WHERE ? IS NULL OR id = ? ORDER BY id",
        (user_id, user_id),
    )
    return [
        {
            "id": row[0],
            "email": row[1],
            "name": row[2],
            "tier": "self-hosted",
            "teams": [],
            "keys_count": row[5],
            "last_seen": rfc3339_or_none(row[6]),
            "disabled": bool(row[3]),
            "created_at": rfc3339(row[4]),
        }
        for row in rows
    ]


def team_shown(team: str) -> dict[str, Any]:
    """Of a key object, the team, and the client that the key speaks for by it."""
    return {"team_id": team or None, "client": client_of(team), "multi_client": team == CLIENT_TEAM + ANY_CLIENT}


def _key(row: tuple[Any, ...]) -> dict[str, Any]:
    known = dict(zip(_NAMES, row, strict=True))
    return {
        "id": known["id"],
        "user_id": known["user_id"] or None,
        **team_shown(known["team_id"]),
        "key_prefix": known["prefix"],
        "name": known["name"],
        "kind": known["kind"],
        "scopes": orjson.loads(known["scopes"]),
        "limits": {
            "models": orjson.loads(known["models"]),
            "ip_allow": orjson.loads(known["ip_allow"]),
            "rpm": known["rpm"] or None,
            "budget_usd_month": nano_to_usd(known["budget_month_nano"]) if known["budget_month_nano"] else None,
        },
        "created_at": rfc3339(known["created_at_ns"]),
        "expires_at": rfc3339_or_none(known["expires_at_ns"]),
        "last_used": rfc3339_or_none(known["last_used_ns"]),
        "revoked_at": rfc3339_or_none(known["revoked_at_ns"]),
        "rotated_to": known["rotated_to"],
        "origin": known["origin"],
    }
