"""`run/snapshot.json` of the simulated machine: written by the control plane, read by the activator."""

from __future__ import annotations

from pathlib import Path

import orjson

from control_plane.domain.plans import FREE
from control_plane.domain.tenants import Generation
from control_plane.routing.snapshot import Snapshot, parse
from control_plane.snapshot import snapshot
from control_plane.store.database import Changes
from tests.simulation.plane import Plane
from tests.simulation.sim_store import Tables
from tests.simulation.world import World

RETRY_S = 1.0


class SnapshotWriter:
    """As the control plane keeps it in step with its database; `has` tells what is on disk."""

    def __init__(self, plane: Plane, tables: Tables) -> None:
        self._plane = plane
        self._tables = tables
        self._written: dict[str, Generation] = {}
        self.rewritten = Changes()

    def has(self, slug: str, generation: Generation) -> bool:
        """True when the file on disk holds at least this generation of the tenant."""
        return self._written.get(slug, Generation(0, 0)) >= generation

    async def run(self) -> None:
        """Rewrite after each change, for ever."""
        while True:
            seen = self._tables.changes.count
            try:
                await self.write()
            except OSError:
                await self._plane.pause(RETRY_S)
                continue
            await self._tables.changes.wait(seen, 60.0)

    async def write(self) -> None:
        """Rewrite it now."""
        everyone = list(self._tables.tenants.values())
        content = orjson.dumps(snapshot(everyone, lambda name: FREE, self._tables.world.now))

        def replace() -> None:
            self._tables.world.require_disk()
            self._tables.world.snapshot = content

        await self._plane.effect(replace, OSError)
        self._written = {tenant.slug: tenant.generation for tenant in everyone}
        self.rewritten.notify()


class SnapshotReader(Snapshot):
    """The real reader, on the simulated machine's file."""

    def __init__(self, world: World) -> None:
        super().__init__(Path("/simulated"))
        self._world = world
        self._read = b""

    def _refresh(self) -> None:
        if self._world.snapshot is not self._read and self._world.snapshot:
            self._read = self._world.snapshot
            self._tenants = parse(self._read)
