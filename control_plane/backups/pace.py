"""Keeps replicas closer behind their databases than Litestream does by itself, and knows how far behind each one is.

Litestream looks at a database registered over its socket once a second. Here each database's WAL is looked at (one
`stat`) every few hundred milliseconds, and one that changed is synced at once. While nobody does this, because the
control plane is down, Litestream goes on at its own pace.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from control_plane.backups.control_socket import ControlSocket, NotRegistered
from control_plane.reconcile.ports import Unavailable

AT_ONCE = 8  # syncs under way together
PAUSE_AFTER_FAILURE_S = 2.0

_log = logging.getLogger(__name__)

Mark = tuple[int, int]  # of a WAL: when it was last written, how long it is


class Pacer:
    """Syncs what changed, forever, each database by itself; `databases` names what is registered at the moment."""

    def __init__(self, control: ControlSocket, interval_s: float, databases: Callable[[], Mapping[str, Path]]) -> None:
        self._control = control
        self._interval_s = interval_s
        self._databases = databases
        self._synced: dict[str, Mark] = {}
        self._behind_since: dict[str, float] = {}  # monotonic: the oldest write not known to be at the replica
        self._retry_at: dict[str, float] = {}
        self._syncing: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(self._interval_s)
                self._begin_syncs()
        finally:
            for task in self._syncing.values():
                task.cancel()

    async def sync(self, name: str, database: Path) -> int:
        """Everything committed before the call is at the replica when this returns; the transaction id.

        Raises `Unavailable`, or `NotRegistered`.
        """
        begun, mark = time.monotonic(), _mark(database)
        if mark is not None and mark != self._synced.get(name):
            self._behind_since.setdefault(name, begun)
        txid = await self._control.sync(database)
        if mark is not None:
            self._synced[name] = mark
        self._behind_since.pop(name, None)
        if _mark(database) != mark:
            self._behind_since[name] = begun
        return txid

    def lag_s(self, name: str, database: Path) -> float:
        """How old the oldest write is that is not known to be at the replica; 0 when everything is."""
        mark = _mark(database)
        if mark is None or mark == self._synced.get(name):
            return 0.0
        return time.monotonic() - self._behind_since.setdefault(name, time.monotonic())

    def behind_since(self, name: str) -> float | None:
        """The monotonic time of that write; None when there is none."""
        return self._behind_since.get(name)

    def forget(self, name: str) -> None:
        """The database is copied no more, and all of it is at the replica or lost."""
        for known in (self._synced, self._behind_since, self._retry_at):
            known.pop(name, None)

    def _begin_syncs(self) -> None:
        now = time.monotonic()
        for name, database in self._databases().items():
            mark = _mark(database)
            if mark is None or mark == self._synced.get(name):
                continue
            self._behind_since.setdefault(name, now)
            if name not in self._syncing and now >= self._retry_at.get(name, 0.0):
                self._syncing[name] = asyncio.create_task(self._sync(name, database), name=f"sync {name}")

    async def _sync(self, name: str, database: Path) -> None:
        try:
            async with self._slots:
                await self.sync(name, database)
            self._retry_at.pop(name, None)
        except NotRegistered:
            pass  # unregistered meanwhile, with a sync of its own
        except Unavailable as problem:
            if name not in self._retry_at:
                _log.warning("the replica of %s falls behind: %s", name, problem)
            self._retry_at[name] = time.monotonic() + PAUSE_AFTER_FAILURE_S
        finally:
            del self._syncing[name]


def _mark(database: Path) -> Mark | None:
    with suppress(FileNotFoundError):
        found = os.lstat(f"{database}-wal")
        return found.st_mtime_ns, found.st_size
    return None
