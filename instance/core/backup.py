"""A copy of the database while it is in use, and the way back: what `stockyard backup` and `stockyard restore` do."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from instance.core import meta
from instance.core.core import DATABASE_NAME, SECRET_KEY_NAME
from instance.core.data_folder import DataFolderError, FolderLock, require_local
from instance.core.epochs import LedgerHead, random_epoch
from instance.core.secrets import write_key

PAGES_A_STEP = 1024


def back_up(data_dir: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Copy the database as it is now to a new file, also while an instance runs; its bytes.

    `progress(pages done, pages in all)` is told how it goes. Raises `DataFolderError`; then there is no file.
    """
    source_path = data_dir / DATABASE_NAME
    if not source_path.exists():
        raise DataFolderError(f"there is no database in {data_dir}")
    if target.exists():
        raise DataFolderError(f"{target} exists already; name a new file")
    draft = target.with_name(target.name + ".part")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def step(_status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    try:
        with closing(_reading(source_path)) as source, closing(sqlite3.connect(draft)) as copy:
            source.backup(copy, pages=PAGES_A_STEP, progress=step)
            copy.execute("PRAGMA journal_mode = DELETE")
        _sync(draft)
        draft.replace(target)
    except (OSError, sqlite3.Error) as error:
        draft.unlink(missing_ok=True)
        raise DataFolderError(f"the backup failed: {error}") from error
    return target.stat().st_size


def restore(data_dir: Path, backup: Path, ledger_head: LedgerHead, secret_key: bytes | None = None) -> Path | None:
    """Make the backup the folder's database; where the one that was there is kept now.

    `secret_key` is the one that its secrets are sealed under, when it comes with it: it becomes the folder's `secret.key`.
    The database begins a new epoch at its next start, which leaves a `restore` entry in the ledger; what the journal
    still holds belongs to the old one and is set aside then. Refused while an instance runs. Raises `DataFolderError`.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_local(data_dir)
    lock = FolderLock(data_dir)
    try:
        check(backup)
        database = data_dir / DATABASE_NAME
        replaced = _head_of(database, ledger_head)
        draft = data_dir / f"{DATABASE_NAME}.restoring"
        shutil.copyfile(backup, draft)
        draft.chmod(0o600)
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            meta.put(connection, meta.PENDING_EPOCH, random_epoch())
            meta.put(connection, meta.REPLACED_HEAD, replaced)
        _sync(draft)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        kept = _set_aside(database, stamp)
        if secret_key is not None:
            _place_key(data_dir / SECRET_KEY_NAME, secret_key, stamp)
        draft.replace(database)
        return kept
    except (OSError, sqlite3.Error) as error:
        raise DataFolderError(f"the restore failed: {error}") from error
    finally:
        lock.release()


def check(backup: Path) -> None:
    """Raise `DataFolderError` unless the file is a whole database of an instance."""
    if not backup.is_file():
        raise DataFolderError(f"there is no file {backup}")
    try:
        with closing(_reading(backup)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise DataFolderError(f"{backup} is damaged: {verdict}")
            if not meta.get(connection, meta.EPOCH):
                raise DataFolderError(f"{backup} is no database of a Stockyard instance that ever ran")
    except sqlite3.Error as error:
        raise DataFolderError(f"{backup} is no database of a Stockyard instance: {error}") from error


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _head_of(database: Path, ledger_head: LedgerHead) -> str:
    """The newest ledger entry of the database that is about to be replaced, as JSON; empty when it cannot be read.

    Its write-ahead log is empty afterwards, as it must never meet another database.
    """
    if not database.exists():
        return ""
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            seq, entry_hash = ledger_head(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        return ""
    return json.dumps({"seq": seq, "hash": entry_hash.hex()})


def _place_key(path: Path, key: bytes, stamp: str) -> None:
    """Make the key the folder's; another one that was there is kept, since the database set aside needs it."""
    if path.exists() and path.read_text().strip() != key.hex():
        path.with_name(f"{path.name}.replaced-{stamp}").hardlink_to(path)
    write_key(path, key)


def _set_aside(database: Path, stamp: str) -> Path | None:
    """Keep the database under another name too, so that there is one under its own at every moment."""
    if not database.exists():
        return None
    kept = database.with_name(f"{database.name}.replaced-{stamp}")
    kept.hardlink_to(database)
    for suffix in ("-wal", "-shm"):
        part = Path(f"{database}{suffix}")
        if part.exists():
            part.replace(f"{kept}{suffix}")
    return kept


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
