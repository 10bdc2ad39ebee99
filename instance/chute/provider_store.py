"""The table `providers`: rows read and written, keys sealed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.provider_spec import StoredProvider
from instance.core.secrets import SecretError

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.core.writer import LedgerEvent

_COLUMNS = "name, type, base_url, api_key_sealed, auth, headers, models, region, priority, timeout_s, enabled"


async def stored_providers(core: Core) -> dict[str, StoredProvider]:
    """Every row by name, keys opened."""
    rows = await core.database.read(
        lambda conn: conn.execute(f"SELECT {_COLUMNS} FROM providers ORDER BY name").fetchall()
    )
    return {row[0]: _from_row(row, core) for row in rows}


def _from_row(row: Sequence[Any], core: Core) -> StoredProvider:
    name, kind, base_url, sealed, auth, headers, models, region, priority, timeout_s, enabled = row
    api_key, key_lost = None, False
    if sealed:
        try:
            api_key = core.secrets.open(bytes(sealed), _context(name)).decode()
        except SecretError:
            key_lost = True
    return StoredProvider(
        name=name,
        type=kind,
        base_url=base_url,
        api_key=api_key,
        auth=auth,
        headers=orjson.loads(headers) if headers is not None else None,
        models=orjson.loads(models) if models is not None else None,
        region=region,
        priority=priority,
        timeout_s=timeout_s,
        enabled=None if enabled is None else bool(enabled),
        key_lost=key_lost,
    )


def _context(name: str) -> bytes:
    """Binds a sealed key to its row."""
    return b"provider:" + name.encode()


async def put(core: Core, provider: StoredProvider, event: LedgerEvent) -> None:
    """Stores a row, new or changed, with its ledger entry. A key that could not be opened stays as it is."""
    now = core.clock.wall_ns()
    row = (
        provider.name,
        provider.type,
        provider.base_url,
        core.secrets.seal(provider.api_key.encode(), _context(provider.name)) if provider.api_key else None,
        provider.auth,
        _json(provider.headers),
        _json(provider.models),
        provider.region,
        provider.priority,
        provider.timeout_s,
        None if provider.enabled is None else int(provider.enabled),
        now,
        now,
        provider.key_lost,
    )

    def write(conn: sqlite3.Connection) -> None:
        conn.execute(
            f"INSERT INTO providers ({_COLUMNS}, created_at_ns, updated_at_ns) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "type = excluded.type, base_url = excluded.base_url, "
            "api_key_sealed = CASE WHEN ? THEN providers.api_key_sealed ELSE excluded.api_key_sealed END, "
            "auth = excluded.auth, headers = excluded.headers, models = excluded.models, region = excluded.region, "
            "priority = excluded.priority, timeout_s = excluded.timeout_s, enabled = excluded.enabled, updated_at_ns = excluded.updated_at_ns",
            row,
        )

    await core.writer.write(write, [event])


async def remove(core: Core, name: str, event: LedgerEvent) -> None:
    """Deletes a row, with its ledger entry."""

    def write(conn: sqlite3.Connection) -> None:
        conn.execute("DELETE FROM providers WHERE name = ?", (name,))

    await core.writer.write(write, [event])


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
