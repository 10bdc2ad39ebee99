"""SQL of the keys' table."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from instance.core.principals import CLIENT_TEAM, Principal

_COLUMNS = (
    "id, digest, prefix, name, kind, scopes, user_id, team_id, models, ip_allow, rpm, budget_month_nano, expires_at_ns, "
    "revoked_at_ns, origin"
)


def principals(connection: sqlite3.Connection) -> list[Principal]:
    """Every key, revoked ones too."""
    return [_principal(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM keys ORDER BY id")]


def one(connection: sqlite3.Connection, key_id: int) -> Principal | None:
    """The key with this id."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM keys WHERE id = ?", (key_id,)).fetchone()
    return _principal(row) if row else None


def times(connection: sqlite3.Connection) -> dict[int, tuple[int, int, int]]:
    """`(created_at_ns, revoked_at_ns, last_used_ns)` of every key, by id; 0 for never."""
    rows = connection.execute("SELECT id, created_at_ns, revoked_at_ns, last_used_ns FROM keys")
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def add(connection: sqlite3.Connection, principal: Principal, now_ns: int) -> int:
    """Store a key; its id, which `principal.key_id` becomes."""
    key_id = _insert(connection, principal, None, now_ns)
    principal.number(key_id)
    return key_id


def replace_all(connection: sqlite3.Connection, principals: list[Principal], now_ns: int) -> None:
    """Make these the only keys, each with its id where that is a number: what was spent under it stays its own."""
    connection.execute("DELETE FROM keys")
    for principal in principals:
        _insert(connection, principal, principal.key_id if isinstance(principal.key_id, int) else None, now_ns)


def _insert(connection: sqlite3.Connection, principal: Principal, key_id: int | None, now_ns: int) -> int:
    cursor = connection.execute(
        "INSERT INTO keys (id, digest, prefix, name, kind, scopes, user_id, team_id, models, ip_allow, rpm, "
        "budget_month_nano, created_at_ns, expires_at_ns, revoked_at_ns, last_used_ns, origin) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,0,?)",
        (
            key_id,
            principal.digest,
            principal.prefix,
            principal.name,
            principal.kind,
            _listed(sorted(principal.scopes)),
            principal.user,
            principal.team,
            _listed(principal.models),
            _listed(principal.ip_allow),
            principal.rpm,
            principal.budget_month_nano,
            now_ns,
            principal.expires_at_ns,
            principal.origin,
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def revoke(connection: sqlite3.Connection, key_id: int, now_ns: int) -> bool:
    """Mark a key as revoked; whether it was not before."""
    query = "UPDATE keys SET revoked_at_ns = ? WHERE id = ? AND revoked_at_ns = 0"
    return connection.execute(query, (now_ns, key_id)).rowcount > 0


def expire(connection: sqlite3.Connection, key_id: int, at_ns: int) -> bool:
    """Let a key end at a time; whether it exists and is not revoked."""
    query = "UPDATE keys SET expires_at_ns = ? WHERE id = ? AND revoked_at_ns = 0"
    return connection.execute(query, (at_ns, key_id)).rowcount > 0


def admins_left(connection: sqlite3.Connection, now_ns: int) -> int:
    """How many admin keys of the instance itself, not of a client, work now."""
    query = (
        "SELECT count(*) FROM keys WHERE kind = 'admin' AND revoked_at_ns = 0 "
        "AND (expires_at_ns = 0 OR expires_at_ns > ?) AND instr(team_id, ?) <> 1"
    )
    return int(connection.execute(query, (now_ns, CLIENT_TEAM)).fetchone()[0])


def take_env_key(connection: sqlite3.Connection, principal: Principal | None, now_ns: int) -> None:
    """Make the admin key that the environment gives the only one of origin `env`; with `None`, there is none."""
    digest = principal.digest if principal else b""
    connection.execute("DELETE FROM keys WHERE origin = 'env' AND digest <> ?", (digest,))
    if principal:
        known = connection.execute("SELECT 1 FROM keys WHERE digest = ?", (digest,)).fetchone()
        if known is None:
            add(connection, principal, now_ns)


def set_last_used(connection: sqlite3.Connection, last_used_ns: dict[int | str, int]) -> None:
    """Keep when keys were last used; ids that are not in the table are left out."""
    rows = [(at, key_id) for key_id, at in last_used_ns.items() if isinstance(key_id, int)]
    connection.executemany("UPDATE keys SET last_used_ns = max(last_used_ns, ?) WHERE id = ?", rows)


def _principal(row: tuple[Any, ...]) -> Principal:
    return Principal(
        row[0],
        row[4],
        orjson.loads(row[5]),
        digest=row[1],
        prefix=row[2],
        name=row[3],
        user=row[6],
        team=row[7],
        models=orjson.loads(row[8]),
        ip_allow=orjson.loads(row[9]),
        rpm=row[10],
        budget_month_nano=row[11],
        expires_at_ns=row[12],
        revoked=bool(row[13]),
        origin=row[14],
    )


def _listed(values: object) -> str:
    return orjson.dumps(values, default=list).decode()
