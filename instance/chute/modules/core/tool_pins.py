"""What each tool looked like when it was first offered, so that a later change of it shows."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance.core.core import Core

PINS_MAX = 20_000
"""Tools of all owners that are pinned; what comes beyond is not."""

log = logging.getLogger("stockyard.modules")

Pin = tuple[str, str]
"""Owner and name of a tool."""


class ToolPins:
    """In memory, written to the database soon after."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._pins: dict[Pin, bytes] = {}
        self._new: list[tuple[str, str, bytes, int]] = []
        self._writer: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Learn what the database holds."""

        def read(connection: sqlite3.Connection) -> list[tuple[str, str, bytes]]:
            return connection.execute("SELECT owner, name, digest FROM tool_pins LIMIT ?", (PINS_MAX,)).fetchall()

        self._pins = {(owner, name): digest for owner, name, digest in await self._core.database.read(read)}

    def __len__(self) -> int:
        return len(self._pins)

    def holds(self, owner: str, name: str, digest: bytes) -> bool:
        """Whether the tool is what it was; one that is new is pinned."""
        known = self._pins.get((owner, name))
        if known is not None:
            return known == digest
        if len(self._pins) < PINS_MAX:
            self._pins[owner, name] = digest
            self._new.append((owner, name, digest, self._core.clock.wall_ns()))
            if self._writer is None:
                self._writer = asyncio.get_running_loop().create_task(self._write())
        return True

    async def forget(self, globs: Sequence[str]) -> None:
        """Take the pins of tools that fit off; their next definition is pinned."""
        gone = [pin for pin in self._pins if any(fnmatchcase(pin[1], glob) for glob in globs)]
        for pin in gone:
            del self._pins[pin]
        await self.flush()
        await self._core.writer.write(
            lambda c: c.executemany("DELETE FROM tool_pins WHERE owner = ? AND name = ?", gone)
        )

    async def flush(self) -> None:
        """Return when all is written."""
        if self._writer is not None:
            await self._writer

    async def _write(self) -> None:
        try:
            while self._new:
                rows, self._new = self._new, []
                await self._core.writer.write(partial(_save, rows))
        except Exception as error:  # pinned in memory all the same, until the process ends
            log.warning("toolshield: pins were not written: %s", error)
        finally:
            self._writer = None


def _save(rows: list[tuple[str, str, bytes, int]], connection: sqlite3.Connection) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO tool_pins (owner, name, digest, pinned_at_ns) VALUES (?, ?, ?, ?)", rows
    )
