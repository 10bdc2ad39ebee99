"""Brings the control plane's own database back from its copy: `stockyard-cloud restore`.

The restored plane is a new *incarnation*: its word is newer than the lost one's, its copy has a place of its own, and it
pushes every tenant's state anew. Keys that ended after the copy was made stay ended (`key_ends`), where the store can be
listed; epochs that began after it are known by their backups (`domain.found_epochs`).
"""

from __future__ import annotations

import shutil
import socket
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, update

from control_plane import ledger
from control_plane.backups import control_copy
from control_plane.backups.check import check
from control_plane.backups.key_ends import KeyEnds, apply_ends
from control_plane.backups.lives import lives_at_store
from control_plane.backups.places import Places
from control_plane.backups.restore import history, restore
from control_plane.config import Config
from control_plane.errors import ConfigError
from control_plane.reconcile.ports import RestoreOutcome, Unavailable
from control_plane.store import epochs, tenants
from control_plane.store.database import Database
from control_plane.store.schema import meta
from control_plane.store.schema import tenants as tenants_table

COMPANIONS = ("", "-wal", "-shm")
GAP_MAX = 3
"""Incarnations without a copy that are passed over in looking for the newest."""


@dataclass(frozen=True, slots=True)
class RestoredPlane:
    """What was brought back. `aside` is where the database that was there lies now; empty when there was none."""

    restored_from: int
    incarnation: int
    txid: int
    tenants: int
    keys_ended: int
    aside: str
    status: str = "restored"

    def shown(self) -> dict[str, Any]:
        return asdict(self)


async def restore_plane(
    config: Config, *, at: str | None = None, incarnation: int | None = None, dry_run: bool = False
) -> RestoredPlane:
    """Restore control.db from `incarnation` (the newest with a copy) as of `at` (RFC 3339; the newest).

    With `dry_run` all is done on a copy that is then removed: whether it can be restored, and what would be. Else the caller holds the data folder (`running.only_one`). Raises ConfigError when it cannot be done, with the reason;
    the database that is there is then as it was.
    """
    if config.database_url:
        raise ConfigError("`database_url` names a database of your own: restore it by its own means")
    if not dry_run and _listens(config.litestream_socket):
        raise ConfigError("Litestream runs on this data folder; stop `stockyard-cloud up` first")
    places = Places(config.replica_url)
    making = config.database_file.with_name("control.db.tried" if dry_run else "control.db.restored")
    try:
        places.require()
        newest = await _newest(places)
        source = incarnation or newest
        if not source:
            raise ConfigError(f"there is no copy of the control plane's database at {places.shown}")
        _remove(making)
        result = await restore(places.control(source), making, at)
        ends = await KeyEnds(config.replica_url).read()
    except (Unavailable, ValueError) as problem:
        raise ConfigError(str(problem)) from None
    if result.outcome is not RestoreOutcome.RESTORED:
        raise ConfigError(f"incarnation {source}: {result.outcome}: {result.detail}")
    sound = check(making)
    if not sound.ok:
        raise ConfigError(f"the copy of incarnation {source} is not sound: {sound.detail}; try another with --at")
    reborn = max(newest, source, _present_incarnation(config.database_file)) + 1
    database = Database(f"sqlite:///{making}")
    try:
        await database.open()
        lives = await lives_at_store(places, await database.read(epochs.of_all))
        ended, count = await database.write(lambda connection: _reborn(connection, reborn, source, ends, lives))
    except Unavailable as problem:
        raise ConfigError(str(problem)) from None
    finally:
        await database.close()
        if dry_run:
            _remove(making)
    if dry_run:
        return RestoredPlane(source, reborn, result.txid or 0, count, ended, "", status="would_restore")
    _settle(making)
    aside = _set_aside(config)
    making.replace(config.database_file)
    config.database_file.chmod(0o600)
    return RestoredPlane(source, reborn, result.txid or 0, count, ended, str(aside or ""))


def _reborn(
    connection: Connection,
    incarnation: int,
    source: int,
    ends: Mapping[str, float],
    lives: Mapping[str, Mapping[int, tuple[float, float]]],
) -> tuple[int, int]:
    """Make it the new incarnation and let keys end that ended; how many did, and how many tenants there are."""
    tenants.incarnation(connection)
    connection.execute(update(meta).where(meta.c.name == "incarnation").values(value=str(incarnation)))
    control_copy.forget(connection)
    raised = connection.execute(update(tenants_table).values(incarnation=incarnation))
    ended = apply_ends(connection, ends, time.time())
    found = epochs.adopt(connection, lives)
    ledger.append(
        connection,
        event_type="restore",
        actor="operator",
        resource="control_plane",
        action="restore",
        detail={"incarnation": incarnation, "restored_from": source, "keys_ended": ended, "epochs_found": found},
    )
    return ended, raised.rowcount


async def _newest(places: Places) -> int:
    """The newest incarnation that has a copy; 0 when none has."""
    newest, number = 0, 1
    while number <= newest + GAP_MAX:
        if await history(places.control(number)) is not None:
            newest = number
        number += 1
    return newest


def _present_incarnation(database: Path) -> int:
    """That of the database that is there, as far as it can be read."""
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = 'incarnation'").fetchone()
        return int(row[0]) if row else 0
    except (sqlite3.Error, ValueError):
        return 0


def _settle(database: Path) -> None:
    """Move what is in the write-ahead log into the file, so that it is one file."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in COMPANIONS[1:]:
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def _set_aside(config: Config) -> Path | None:
    """Move the present database, and Litestream's notes about it, into a folder of their own."""
    database = config.database_file
    found = [database.with_name(database.name + suffix) for suffix in COMPANIONS]
    found.append(database.with_name(f".{database.name}-litestream"))
    found = [path for path in found if path.exists()]
    if not found:
        return None
    folder = (
        config.data / "aside" / f"control-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.time_ns() % 1000:03d}"
    )
    folder.mkdir(parents=True, mode=0o700)
    for path in found:
        shutil.move(path, folder / path.name)
    return folder


def _remove(database: Path) -> None:
    for suffix in COMPANIONS:
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
