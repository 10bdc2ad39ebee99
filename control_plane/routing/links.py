"""Waits for tenants to be routed to, many at once, by looking at one routing table's time of change."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

from control_plane.config import Config
from control_plane.reconcile.unix_http import listens
from control_plane.routing.edge import FolderEdge
from control_plane.routing.pace import monotonic

POLL_S = 0.005
LOOK_ANYWAY_S = 0.25  # at every tenant waited for
# Two changes within the file system's clock tick look like one, so a change is followed by some more looks.
LOOK_AGAIN = 4


class RoutingTable(Protocol):
    """Who is routed to, as the activator sees it."""

    async def is_routed(self, slug: str) -> bool:
        """True if a new call reaches the instance now."""

    def changed_at(self) -> int:
        """A time that is another one after a change."""

    async def named(self) -> Collection[str]:
        """Who is in the table: nobody else is routed to."""


class FolderTable:
    """The machine's folder of links: a tenant is routed to when its link is the socket that its instance listens on."""

    def __init__(self, config: Config, edge: FolderEdge) -> None:
        self._config = config
        self._edge = edge

    async def is_routed(self, slug: str) -> bool:
        """True if a new call reaches the instance now."""
        return await self._edge.is_linked(slug) and listens(self._config.own_socket(slug))

    def changed_at(self) -> int:
        """When the folder was written last, in nanoseconds."""
        return self._config.edge_dir.stat().st_mtime_ns

    async def named(self) -> Collection[str]:
        """Who has a link, be it a stale one."""
        return await self._edge.named()


class Links:
    """What waits for the table to change."""

    def __init__(self, table: RoutingTable) -> None:
        self._table = table
        self._waiting: dict[str, asyncio.Event] = {}
        self._watch: asyncio.Task[None] | None = None

    async def is_routed(self, slug: str) -> bool:
        """True if a new call reaches the instance now."""
        return await self._table.is_routed(slug)

    async def until_routed(self, slug: str) -> None:
        """Return when it is."""
        if await self.is_routed(slug):
            return
        event = self._waiting.setdefault(slug, asyncio.Event())
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look())
        await event.wait()

    def forget(self, slug: str) -> None:
        """Nobody waits for this tenant any more."""
        self._waiting.pop(slug, None)

    def close(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._watch.cancel()

    async def _look(self) -> None:
        changed_at, again, look_at = 0, 0, 0.0
        while self._waiting:
            now = monotonic()
            found = self._table.changed_at()
            if found != changed_at:
                changed_at, again = found, LOOK_AGAIN
            if again or now >= look_at:
                again, look_at = max(0, again - 1), now + LOOK_ANYWAY_S
                named = await self._table.named()
                for slug in [each for each in self._waiting if each in named]:
                    if await self.is_routed(slug):
                        event = self._waiting.pop(slug, None)
                        if event is not None:
                            event.set()
            await asyncio.sleep(POLL_S)
