"""Brings a tenant to life from a file: checked whole, staged as its first database, and only then opened."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection

from control_plane.api import opening
from control_plane.api.bodies import SETTINGS_MAX_BYTES
from control_plane.api.opening import Moved, Opening
from control_plane.api.own_tenant import open_and_show
from control_plane.api.plane import Plane
from control_plane.backups.program import verdict_of
from control_plane.domain.tenants import RestoreRequest
from control_plane.errors import CloudError
from control_plane.moving.arrival_keys import read_keys
from control_plane.moving.to_disk import too_large
from control_plane.reconcile.ports import Unavailable
from control_plane.store import keys, tenants
from instance.core.passphrase import require_passphrase
from instance.core.portable import DATABASE, OVERHEAD_MAX_BYTES, Contents, PortableError, TooLarge, unpack

UPLOADED = "uploaded"


@dataclass(frozen=True, slots=True)
class Import:
    """A tenant asked for from a file."""

    slug: str
    plan: str
    region: str
    account_id: int
    actor: str
    passphrase: str

    def __repr__(self) -> str:
        return f"Import({self.slug!r}, …)"


def require_good_passphrase(passphrase: str | None) -> str:
    """The passphrase. Raises `missing_field` or `invalid_value`."""
    if not passphrase:
        raise CloudError("missing_field", "passphrase: give the one that protects the file", param="passphrase")
    try:
        return require_passphrase(passphrase)
    except ValueError as problem:
        raise CloudError("invalid_value", str(problem), param="passphrase") from None


def file_max_bytes(plane: Plane, plan: str) -> int:
    """How large a file may be whose database the plan has room for."""
    return plane.config.plan(plan).max_database_bytes + OVERHEAD_MAX_BYTES


async def require_free(plane: Plane, asked: Import) -> None:
    """Raise `slug_taken` before a file is read; that the tenant is opened asks once more."""
    await plane.database.read(lambda connection: tenants.require_free(connection, asked.slug, asked.account_id))


async def import_from(plane: Plane, asked: Import, url: str) -> dict[str, Any]:
    """`bring_in` with the file at an address."""
    await require_free(plane, asked)
    async with plane.room.work(asked.slug) as folder:
        file = folder / UPLOADED
        await plane.room.fetcher.fetch(url, file, file_max_bytes(plane, asked.plan))
        return await bring_in(plane, asked, folder, file)


async def bring_in(plane: Plane, asked: Import, folder: Path, file: Path) -> dict[str, Any]:
    """Open the tenant from the file, working in `folder`; the answer that shows it with its first keys.

    Staged first and opened then, in one transaction: a crash before it leaves no tenant, one after it a tenant that finds
    its database. Raises `invalid_value` for a file that is not whole or sound, `conflict` for keys in use elsewhere.
    """
    contents, database = await _unpack(plane, asked, folder, file)
    new_keys, key_ids = read_keys(contents.keys, await plane.database.write(plane.room.key_ids))
    moved = Moved(contents.secret_key.hex(), new_keys, _settings(contents))
    await plane.database.read(lambda connection: _require_unused(connection, moved))
    await _fit(database, contents, key_ids)
    requested_at = time.time()
    into = await plane.room.volumes.staging_file(asked.slug)
    await asyncio.to_thread(database.replace, into)
    await plane.room.volumes.staged(asked.slug, requested_at, None)
    request = RestoreRequest(requested_at=requested_at, imported=True)
    opened = Opening(asked.slug, asked.plan, asked.region, request, moved)
    try:
        return await open_and_show(plane, opened, asked.account_id, asked.actor)
    except Exception:  # it was not opened; a cancelled one may be, as a write that was begun is finished
        await plane.room.volumes.drop_staged(asked.slug)
        raise


async def _unpack(plane: Plane, asked: Import, folder: Path, file: Path) -> tuple[Contents, Path]:
    most = plane.config.plan(asked.plan).max_database_bytes
    database = folder / DATABASE

    def read() -> Contents:
        with file.open("rb") as stream:
            return unpack(stream, asked.passphrase, database, most)

    try:
        return await asyncio.to_thread(read), database
    except TooLarge:
        raise too_large(most) from None
    except PortableError as problem:
        raise CloudError("invalid_value", f"the file cannot be imported: {problem}", param="file") from None
    finally:
        file.unlink(missing_ok=True)  # its database is beside it now: a large one lies there once, not twice


async def _fit(database: Path, contents: Contents, key_ids: dict[str, int]) -> None:
    given = orjson.dumps({"secret_key": contents.secret_key.hex(), "key_ids": key_ids})
    try:
        verdict = await verdict_of("control_plane.moving.arrive", str(database), contents.source.name, given=given)
    except Unavailable as problem:
        raise CloudError("invalid_value", f"the database in the file cannot be read: {problem}", param="file") from None
    if not verdict.ok:
        message = f"the database in the file cannot be imported: {verdict.detail}"
        raise CloudError("invalid_value", message, param="file")


def _settings(contents: Contents) -> dict[str, Any]:
    """What another control plane had set for it."""
    found = contents.settings.get("settings", {})
    if not isinstance(found, dict) or len(orjson.dumps(found)) > SETTINGS_MAX_BYTES:
        raise CloudError("invalid_value", "settings.json is not what it should be", param="file")
    return {name: value for name, value in found.items() if name.partition(".")[0] not in opening.OPERATORS_SETTINGS}


def _require_unused(connection: Connection, moved: Moved) -> None:
    taken = keys.taken(connection, [key.sha256 for key in moved.keys])
    if taken:
        shown = ", ".join(taken[:5])
        message = (
            f"{len(taken)} of its keys are in use at a tenant here already ({shown}); revoke them where it comes from"
        )
        raise CloudError("conflict", message, param="file")
