"""What a database is changed in when it comes from elsewhere, before anything runs on it: one transaction, on a file at rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from instance.core import meta
from instance.core.secrets import SecretBox, SecretError


class Unfit(Exception):
    """The database cannot come in; the message says why."""


def opened(path: Path) -> closing[sqlite3.Connection]:
    """A database from elsewhere: its schema's functions are not trusted, and nothing beside it is left behind."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA journal_mode = DELETE")
    return closing(connection)


def require_key(connection: sqlite3.Connection, secret_key: bytes) -> None:
    """Raise `Unfit` unless the database is one that ran, and its secrets are sealed under this key."""
    if not meta.get(connection, meta.EPOCH):
        raise Unfit("it is no database of a Stockyard instance that ever ran")
    sealed = meta.get(connection, meta.SECRET_CHECK)
    try:
        if sealed:
            SecretBox(secret_key).open(bytes.fromhex(sealed))
    except (SecretError, ValueError):
        raise Unfit("the secrets in the database are not sealed under the key in the file") from None


def leave_plane(connection: sqlite3.Connection) -> None:
    """Forget what a control plane pushed: its generations would be newer than those of the next one, or none would come."""
    connection.execute("DELETE FROM pushed_state")


def become_hosted(connection: sqlite3.Connection, name: str, key_ids: Mapping[str, int]) -> None:
    """Make it a database that any control plane may begin an epoch on; `name` is what it was called where it comes from.

    Numbers mean something at one place only. An epoch's is written with the name, so that the plane's own first epoch is
    another one. Keys get new ids at the plane, `key_ids` by the old ones: what a key spent, and the budgets that name it, go
    over to its new id, and those of a key that does not come along to a name that no key has. What
    was called elsewhere is kept as one sum, and not as calls of this month's quota. Where it listened, and that it might
    call private networks, was for its owner's machine alone.
    """
    leave_plane(connection)
    epoch = meta.get(connection, meta.EPOCH)
    if epoch.isdigit():
        meta.put(connection, meta.EPOCH, f"{name}/{epoch}")
    for fact in (meta.PENDING_EPOCH, meta.REPLACED_HEAD):
        meta.put(connection, fact, "")
    connection.execute("DELETE FROM settings WHERE path = 'allow_private_networks' OR path GLOB 'server.*'")
    _renumber(connection, key_ids)
    connection.execute("DELETE FROM quota_months")
    columns = ("requests", "errors", "tokens_in", "tokens_out", "cost_nano", "bytes_out")
    sums = ", ".join(f"sum({column})" for column in columns)
    total = connection.execute(f"SELECT {sums}, max(last_request_at_ns) FROM usage_totals HAVING count(*)").fetchone()
    connection.execute("DELETE FROM usage_totals")
    if total:
        connection.execute("INSERT INTO usage_totals VALUES ('0', ?, ?, ?, ?, ?, ?, ?)", total)


def _renumber(connection: sqlite3.Connection, key_ids: Mapping[str, int]) -> None:
    """In two steps, as an old number may be another key's new one."""
    connection.execute("CREATE TEMP TABLE key_ids (old TEXT PRIMARY KEY, new TEXT NOT NULL) WITHOUT ROWID")
    rows = [(f"moved-{old}", str(new)) for old, new in key_ids.items()]
    connection.executemany("INSERT INTO key_ids VALUES (?, ?)", rows)
    connection.execute("UPDATE spend SET key_id = 'moved-' || key_id WHERE key_id GLOB '[0-9]*'")
    connection.execute("UPDATE spend SET key_id = key_ids.new FROM key_ids WHERE spend.key_id = key_ids.old")
    key = "json_extract(budgets.scope, '$.key')"
    moved = f"json_set(scope, '$.key', 'moved-' || {key})"
    connection.execute(f"UPDATE budgets SET scope = {moved} WHERE {key} GLOB '[0-9]*'")
    renamed = "json_set(budgets.scope, '$.key', key_ids.new)"
    connection.execute(f"UPDATE budgets SET scope = {renamed} FROM key_ids WHERE {key} = key_ids.old")
