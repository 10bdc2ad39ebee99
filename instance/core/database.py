"""The one SQLite file: opened, migrated, read on a few threads. All writes go through the writer."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from instance.core.data_folder import DatabaseMissing, DataFolderError, require_local
from instance.core.migrate import migrate
from instance.core.reserve import disk_has_room

T = TypeVar("T")

READERS = 2
WRITER_CACHE_KIB = 8192
READER_CACHE_KIB = 1024
BUSY_TIMEOUT_MS = 5000
PAGE_BYTES = 8192
"""Twice SQLite's own: folding writes rows in order, so fewer and larger pages are fewer system calls for the same bytes."""
CACHED_STATEMENTS = 256

MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """The instance's database. `open()` makes and migrates it; `read()` runs a function on a reader thread.

    In WAL mode with synchronous=NORMAL a commit survives `kill -9` of the process; a power cut may take the last ones.
    """

    def __init__(
        self, path: Path, components: Sequence[tuple[str, Path]] = (), *, litestream_owns_checkpoints: bool = False
    ) -> None:
        self.path = path
        self.is_new = False
        """Whether `open()` made the file."""
        self._components = [("core", MIGRATIONS), *components]
        self._litestream_owns_checkpoints = litestream_owns_checkpoints
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._readers: ThreadPoolExecutor | None = None

    def open(self, *, may_make: bool = True) -> sqlite3.Connection:
        """The connection for the writer, in autocommit mode, on a migrated database.

        Raises `DataFolderError`; `DatabaseMissing` when there is none and it must not be made.
        """
        require_local(self.path.parent)
        self.is_new = not self.path.exists()
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if may_make else 0), 0o600))
        except FileNotFoundError:
            raise DatabaseMissing(f"there is no database {self.path}, and this start must not make one") from None
        except OSError as error:
            raise DataFolderError(f"{self.path} cannot be opened: {self._why(error)}") from error
        try:
            connection = self._connect(WRITER_CACHE_KIB)
        except sqlite3.DatabaseError as error:
            raise DataFolderError(f"{self.path} cannot be opened: {self._why(error)}") from error
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if self._litestream_owns_checkpoints:
                connection.execute("PRAGMA wal_autocheckpoint = 0")
            migrate(connection, self._components)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise DataFolderError(f"{self.path} cannot be used: {self._why(error)}") from error
            raise
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        return connection

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns, run on a reader thread in one consistent snapshot; it cannot write."""
        if self._readers is None:
            raise DataFolderError("the database is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._snapshot, query)

    def sync_log(self) -> None:
        """Make every commit until now survive a power cut."""
        try:
            descriptor = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def size_bytes(self) -> int:
        """The size on disk, write-ahead log included."""
        return sum(path.stat().st_size for path in (self.path, Path(f"{self.path}-wal")) if path.exists())

    def close(self) -> None:
        """End the readers. The writer closes its own connection."""
        if self._readers is not None:
            self._readers.shutdown(wait=True, cancel_futures=True)
            self._readers = None
        while self._connections:
            self._connections.pop().close()

    def _why(self, error: Exception) -> str:
        """What the error says; SQLite calls a full disk an I/O error."""
        return str(error) if disk_has_room(self.path.parent, 0) else f"the disk is full ({error})"

    def _connect(self, cache_kib: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=CACHED_STATEMENTS
        )
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _snapshot(self, query: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect(READER_CACHE_KIB)
            connection.execute("PRAGMA query_only = ON")
            self._local.connection = connection
            self._connections.append(connection)
        connection.execute("BEGIN")
        try:
            return query(connection)
        finally:
            connection.execute("COMMIT")
