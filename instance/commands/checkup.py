"""The checks of `stockyard doctor`: each says what it found and, if that is bad, what to do."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from instance.brand import store
from instance.brand.chain import ZERO_HASH, Walk
from instance.commands.client import is_running
from instance.core.core import DATABASE_NAME
from instance.core.data_folder import network_file_system

FREE_MIN_BYTES = 256 << 20
SECRET_KEY_NAME = "secret.key"
SLICE_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Check:
    """One check's result."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def shown(self) -> dict[str, Any]:
        return asdict(self)


def checks(folder: Path) -> list[Check]:
    """Every check of a data folder, in the order in which they matter."""
    return list(_checks(folder))


def _checks(folder: Path) -> Iterator[Check]:
    wanted = sys.version_info >= (3, 11)
    yield Check("python", wanted, sys.version.split()[0], "Python 3.11 or newer is needed")
    exists = folder.is_dir()
    yield Check("data folder", exists, str(folder), "start `stockyard serve` once, or name the folder with --data")
    if not exists:
        return
    network = network_file_system(folder)
    yield Check("file system", not network, network or "local", "move the data folder to a local disk")
    known = os.statvfs(folder)
    free = known.f_bavail * known.f_frsize
    yield Check(
        "disk space", free >= FREE_MIN_BYTES, f"{free >> 20} MiB free", "free some: calls are refused when it is full"
    )
    yield _secret_key(folder / SECRET_KEY_NAME)
    yield Check("instance", True, "running" if is_running(folder) else "not running")
    database = folder / DATABASE_NAME
    if database.exists():
        yield from _database(database)
    unfolded = sum(path.stat().st_size for path in (folder / "journal").glob("aside/*")) if folder.exists() else 0
    yield Check(
        "journal", unfolded == 0, f"{unfolded} bytes set aside", "records of another epoch lie in journal/aside"
    )


def _secret_key(path: Path) -> Check:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Check("secret key", True, "not in the folder (given by the environment, or not made yet)")
    return Check("secret key", mode & 0o077 == 0, f"mode {mode:04o}", f"chmod 600 {path}")


def _database(path: Path) -> Iterator[Check]:
    restore = "restore a backup: stockyard restore FILE"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            yield Check("database", verdict == "ok", f"{path.stat().st_size} bytes, {verdict}", restore)
            yield _ledger(connection)
    except sqlite3.Error as problem:
        yield Check("database", False, str(problem), restore)


def _ledger(connection: sqlite3.Connection) -> Check:
    last = store.bounds(connection)[1]
    walk = Walk(prev_hash=ZERO_HASH)
    position = 0
    while position < last:
        rows = store.after(connection, position, last, SLICE_ENTRIES)
        if not rows or not all(walk.check(store.chained_of(row)) for row in rows):
            break
        position += len(rows)
    verdict = walk.end(last)
    if verdict.valid:
        return Check("ledger", True, f"{verdict.checked} entries hold")
    detail = f"broken at entry {verdict.broken_at}: {verdict.reason}"
    return Check("ledger", False, detail, "somebody changed the database; compare with a backup or an export")
