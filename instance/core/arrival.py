"""What a database is changed in when it comes from elsewhere, before anything runs on it: one transaction, on a file at rest."""

from __future__ import annotations

import sqlite3
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


def become_hosted(connection: sqlite3.Connection, name: str) -> None:
    """Make it a database that any control plane may begin an epoch on; `name` is what it was called where it comes from.

    Numbers mean something at one place only. An epoch's is written with the name, so that the plane's own first epoch is
    another one; keys get new ids at the plane, so what the old ids spent is kept under names that no new one has. What
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
    connection.execute("UPDATE spend SET key_id = 'moved-' || key_id WHERE key_id GLOB '[0-9]*'")
    connection.execute("DELETE FROM quota_months")
    columns = ("requests", "errors", "tokens_in", "tokens_out", "cost_nano", "bytes_out")
    sums = ", ".join(f"sum({column})" for column in columns)
    total = connection.execute(f"SELECT {sums}, max(last_request_at_ns) FROM usage_totals HAVING count(*)").fetchone()
    connection.execute("DELETE FROM usage_totals")
    if total:
        connection.execute("INSERT INTO usage_totals VALUES ('0', ?, ?, ?, ?, ?, ?, ?)", total)
