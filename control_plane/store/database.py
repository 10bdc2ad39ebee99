"""The control plane's database: reads on a few threads, writes one after another, and a word to who waits for changes.

SQLite in WAL mode by default; any SQLAlchemy URL of a database that Alembic's portable types fit (PostgreSQL).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import make_url

from control_plane.store.migrate import upgrade
from control_plane.store.record import CHANGED_TENANTS

T = TypeVar("T")
READERS = 3
BUSY_TIMEOUT_MS = 5_000


class Changes:
    """A counter of writes that can be waited for."""

    def __init__(self) -> None:
        self.count = 0
        self._moved = asyncio.Event()

    def notify(self) -> None:
        """Wake everybody who waits."""
        self.count += 1
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, seen: int, timeout_s: float) -> int:
        """The counter as soon as it is beyond `seen`, at the latest after `timeout_s`."""
        if self.count == seen:
            # not wait_for: in Python 3.11 it swallows a cancellation that meets the result
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._moved.wait()
        return self.count


class _Watched(Changes):
    """Of one tenant, while somebody waits for it."""

    watchers = 0


class TenantChanges:
    """Which tenants were changed: all since they were last taken, and each for those that wait for that one alone."""

    def __init__(self) -> None:
        self._untaken: set[str] = set()
        self._waiting: dict[str, _Watched] = {}

    def take(self) -> set[str]:
        """The slugs changed since the last call."""
        taken, self._untaken = self._untaken, set()
        return taken

    def put_back(self, slugs: Iterable[str]) -> None:
        """What was taken and could not be seen to: it is taken again."""
        self._untaken.update(slugs)

    def notify(self, slugs: Iterable[str]) -> None:
        """These were changed."""
        for slug in slugs:
            self._untaken.add(slug)
            if slug in self._waiting:
                self._waiting[slug].notify()

    def notify_all(self) -> None:
        """Wake everybody who waits."""
        for changes in self._waiting.values():
            changes.notify()

    @contextlib.contextmanager
    def of(self, slug: str) -> Iterator[Changes]:
        """The changes of one tenant, counted from here on."""
        changes = self._waiting.setdefault(slug, _Watched())
        changes.watchers += 1
        try:
            yield changes
        finally:
            changes.watchers -= 1
            if not changes.watchers:
                del self._waiting[slug]


class Database:
    """Open once; `read` and `write` run a function with a connection in a transaction of its own, off the event loop.

    `changed` counts every write; `changed_tenants` knows which tenants those recorded something of; `asked` holds the
    slugs of which a write asked something of the reconciler.
    """

    def __init__(self, url: str, *, replicated: bool = False) -> None:
        self.changed = Changes()
        self.changed_tenants = TenantChanges()
        self.asked: set[str] = set()
        parsed = make_url(url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        self._file = Path(parsed.database) if self._sqlite and parsed.database else None
        self._engine = create_engine(parsed, pool_size=READERS + 1, max_overflow=0)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="control-db-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="control-db-read")
        if self._sqlite:
            self._set_up_sqlite(replicated)

    def _set_up_sqlite(self, replicated: bool) -> None:
        @event.listens_for(self._engine, "connect")
        def connect(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # transactions begin below, not by the driver's guess
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            if replicated:  # Litestream owns the checkpoints
                connection.execute("PRAGMA wal_autocheckpoint=0")

        @event.listens_for(self._engine, "begin")
        def begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("writes", False)
            driver: Any = connection.connection.driver_connection
            driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    async def open(self) -> None:
        """Create or upgrade the schema; the file is 0600."""
        if self._file is not None:
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
            self._file.chmod(0o600)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._in_write, upgrade, set())

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` answers, from one consistent view."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._in_read, work)

    async def write(self, work: Callable[[Connection], T], *, asks: str = "") -> T:
        """What `work` answers after its transaction is committed; `asks` is the slug the reconciler should look at.

        A write that was begun is finished, and told of, even when the caller is cancelled meanwhile.
        """
        recorded: set[str] = set()
        task = asyncio.get_running_loop().run_in_executor(self._writer, self._in_write, work, recorded)
        task.add_done_callback(lambda _: self._tell(asks, recorded))
        return await asyncio.shield(task)

    def ask(self, slug: str) -> None:
        """Have the reconciler look at this tenant."""
        self._tell(slug, set())

    async def wait_asked(self, timeout_s: float) -> set[str]:
        """Take the slugs asked for since the last call; empty after the timeout."""
        deadline = time.monotonic() + timeout_s
        while not self.asked and (left := deadline - time.monotonic()) > 0:
            await self.changed.wait(self.changed.count, left)
        taken, self.asked = self.asked, set()
        return taken

    async def close(self) -> None:
        """Finish what is under way and close every connection."""
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        self._engine.dispose()

    def _tell(self, asks: str, recorded: set[str]) -> None:
        if asks:
            self.asked.add(asks)
        self.changed_tenants.notify(recorded | {asks} if asks else recorded)
        self.changed.notify()

    def _in_read(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection, connection.begin():
            return work(connection)

    def _in_write(self, work: Callable[[Connection], T], recorded: set[str]) -> T:
        with self._engine.connect().execution_options(writes=True) as connection:
            connection.info.pop(CHANGED_TENANTS, None)  # of a transaction that was rolled back
            with connection.begin():
                result = work(connection)
            recorded.update(connection.info.pop(CHANGED_TENANTS, ()))
            return result
