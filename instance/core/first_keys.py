"""The keys of a first boot: without them nobody could make any."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from instance.core import key_store
from instance.core.errors import StockyardError
from instance.core.keys import DEFAULT_SCOPES, display, hash_key, make_key, require_given
from instance.core.principals import Principal

ADMIN_KEY_ENV = "STOCKYARD_ADMIN_KEY"


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """Shown once. `admin` is empty when the environment gave that key."""

    admin: str
    proxy: str

    def __repr__(self) -> str:
        return "FirstKeys(…)"


def env_admin(env: Mapping[str, str]) -> Principal | None:
    """The holder of the admin key that the environment gives. Raises `invalid_value` when that cannot be a key."""
    key = env.get(ADMIN_KEY_ENV)
    if not key:
        return None
    try:
        return _principal(require_given(key, "admin"), "admin", "environment", "env")
    except ValueError as error:
        raise StockyardError("invalid_value", f"{ADMIN_KEY_ENV}: {error}.", param=ADMIN_KEY_ENV) from None


def make_first_keys(connection: sqlite3.Connection, given: Principal | None, now_ns: int) -> FirstKeys | None:
    """Store the environment's admin key; in a database without keys make what is missing. What was made, or `None`."""
    (had_keys,) = connection.execute("SELECT count(*) FROM keys").fetchone()
    key_store.take_env_key(connection, given, now_ns)
    if had_keys:
        return None
    made = FirstKeys(admin="" if given else make_key("admin"), proxy=make_key("proxy"))
    for key, kind in ((made.admin, "admin"), (made.proxy, "proxy")):
        if key:
            key_store.add(connection, _principal(key, kind, f"first {kind} key", "local"), now_ns)
    return made


def reset_admin_key(connection: sqlite3.Connection, now_ns: int) -> str:
    """A new admin key, for one who lost it; the other admin keys that were made here are revoked."""
    rows = connection.execute(
        "SELECT id FROM keys WHERE kind = 'admin' AND origin = 'local' AND revoked_at_ns = 0"
    ).fetchall()
    for (key_id,) in rows:
        key_store.revoke(connection, key_id, now_ns)
    key = make_key("admin")
    key_store.add(connection, _principal(key, "admin", "reset admin key", "local"), now_ns)
    return key


def _principal(key: str, kind: str, name: str, origin: str) -> Principal:
    return Principal(0, kind, DEFAULT_SCOPES[kind], name=name, prefix=display(key), digest=hash_key(key), origin=origin)
