"""Keeps replicas closer behind their databases than Litestream does by itself.

Litestream looks at a database registered over its socket once a second. Here each database's WAL is looked at (one
`stat`) every few hundred milliseconds, and one that changed is synced at once. While nobody does this, because the
control plane is down, Litestream goes on at its own pace.
"""

from __future__ import annotations

import asyncio
import logging
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
    """Syncs what changed, forever; `databases` names what is registered at the moment."""

    def __init__(self, control: ControlSocket, interval_s: float, databases: Callable[[], Mapping[str, Path]]) -> None:
        self._control = control
        self._interval_s = interval_s
        self._databases = databases
        self._synced: dict[str, Mark] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self._sync_changed()
            except Unavailable as problem:
                _log.warning("replicas fall behind: %s", problem)
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)

    async def _sync_changed(self) -> None:
        databases = dict(self._databases())
        self._synced = {name: mark for name, mark in self._synced.items() if name in databases}
        changed = [
            self._sync(name, path, mark)
            for name, path in databases.items()
            if (mark := _mark(path)) is not None and mark != self._synced.get(name)
        ]
        problems = [each for each in await asyncio.gather(*changed, return_exceptions=True) if each is not None]
        for problem in problems:
            raise problem

    async def _sync(self, name: str, path: Path, mark: Mark) -> None:
        async with self._slots:
            with suppress(NotRegistered):  # unregistered meanwhile, with a sync of its own
                await self._control.sync(path)
            self._synced[name] = mark


def _mark(database: Path) -> Mark | None:
    with suppress(FileNotFoundError):
        found = database.with_name(f"{database.name}-wal").stat()
        return found.st_mtime_ns, found.st_size
    return None
