"""Tenants' sealed secrets, as they lie in the database, and their way under another master key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select, update

from control_plane import ledger
from control_plane.errors import CloudError
from control_plane.master_key import MasterKey
from control_plane.store.database import Database
from control_plane.store.schema import tenants
from instance.core.secrets import SecretError


@dataclass(slots=True)
class Sealed:
    """Slugs by what their secrets are sealed under."""

    current: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)  # under another key that is known here
    unopenable: list[str] = field(default_factory=list)


def look(connection: Connection, key: MasterKey) -> Sealed:
    """Open every secret, to see which key fits."""
    found = Sealed()
    for slug, sealed in _every(connection):
        if key.is_current(sealed, slug.encode()):
            found.current.append(slug)
            continue
        try:
            key.open(sealed, slug.encode())
            found.earlier.append(slug)
        except SecretError:
            found.unopenable.append(slug)
    return found


def rewrap(connection: Connection, key: MasterKey, *, actor: str) -> int:
    """Seal every secret under the present key, all in this transaction; how many were not. Raises SecretError."""
    changed = 0
    for slug, sealed in list(_every(connection)):
        if key.is_current(sealed, slug.encode()):
            continue
        again = key.seal(key.open(sealed, slug.encode()), slug.encode())
        connection.execute(update(tenants).where(tenants.c.slug == slug).values(sealed_secrets=again))
        changed += 1
    detail = {"key": key.id, "tenants": changed}
    ledger.append(
        connection, event_type="admin_action", actor=actor, resource="master_key", action="rotate", detail=detail
    )
    return changed


async def rotate(database: Database, key: MasterKey, *, actor: str, dry_run: bool = False) -> dict[str, Any]:
    """Exchange the master key; what was done. Again after it ended anywhere, it goes on from there. Raises CloudError.

    Where the environment gives the key, only the secrets are sealed anew: the operator has exchanged the key already.
    """
    found = await database.read(lambda connection: look(connection, key))
    if found.unopenable:
        names = ", ".join(found.unopenable[:5])
        message = f"the secrets of {len(found.unopenable)} tenants open under no key known here: {names}"
        raise CloudError("conflict", f"{message}; put their master key back as `master.key.old-N` first")
    if key.file is None and not found.earlier:
        message = "the master key is given by STOCKYARD_CLOUD_MASTER_KEY, and every secret is sealed under it already"
        then = (
            "to rotate, set it to a new key and STOCKYARD_CLOUD_MASTER_KEY_OLD to the present one, restart, and repeat"
        )
        raise CloudError("conflict", f"{message}; {then}")
    total = len(found.current) + len(found.earlier)
    if dry_run:
        return {"dry_run": True, "tenants": total if key.file is not None else len(found.earlier), "key": key.id}
    if key.file is not None:
        key.begin_rotation()
    changed = await database.write(lambda connection: rewrap(connection, key, actor=actor))
    kept = str(key.finish_rotation()) if key.file is not None else None
    return {"dry_run": False, "tenants": changed, "key": key.id, "old_key_kept_in": kept}


def _every(connection: Connection) -> Iterator[tuple[str, bytes]]:
    query = select(tenants.c.slug, tenants.c.sealed_secrets).where(tenants.c.sealed_secrets.is_not(None))
    for row in connection.execute(query.order_by(tenants.c.slug)):
        yield row.slug, row.sealed_secrets
