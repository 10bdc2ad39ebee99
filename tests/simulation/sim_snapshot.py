"""`run/snapshot/` of the simulated machine: written by the control plane, read by the activator's own reader."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import orjson

from control_plane.domain.plans import FREE
from control_plane.domain.tenants import Generation, Tenant
from control_plane.routing.snapshot import INDEX, Snapshot
from control_plane.snapshot import index_content, tenant_content
from control_plane.store.database import Changes
from tests.simulation.plane import Plane
from tests.simulation.sim_store import Tables
from tests.simulation.world import File, World

RETRY_S = 1.0
INDEX_EVERY_S = 10.0


class SnapshotWriter:
    """As one life of the control plane keeps it in step with its database; `has` tells what is on disk."""

    def __init__(self, plane: Plane, tables: Tables) -> None:
        self._plane = plane
        self._tables = tables
        self._world = tables.world
        self._written: dict[str, Generation] = {}
        self._seen: dict[str, Tenant] = {}  # as it was when its file was written
        self._swept, self._indexed_at = False, 0.0
        self.rewritten = Changes()

    def has(self, slug: str, generation: Generation) -> bool:
        """True when the tenant's file holds at least this generation."""
        return self._written.get(slug, Generation(0, 0)) >= generation

    async def run(self) -> None:
        """Write after each change, for ever."""
        while True:
            seen = self._tables.changes.count
            try:
                if not self._swept:
                    await self.write()
                await self._write_changed()
                if self._world.monotonic - self._indexed_at >= INDEX_EVERY_S:
                    await self._write_index()
            except OSError:
                await self._plane.pause(RETRY_S)
                continue
            await self._tables.changes.wait(seen, INDEX_EVERY_S)

    async def write(self) -> None:
        """All of it, and what nobody has any more is removed; only then does the index say so."""
        await self._write(list(self._tables.tenants.values()))
        known = {INDEX, *map(_name, self._tables.tenants)}
        await self._plane.effect(lambda: [self._world.snapshot.pop(each) for each in set(self._world.snapshot) - known])
        await self._write_index()
        self._swept = True

    async def _write_changed(self) -> None:
        tenants = self._tables.tenants
        if changed := [each for slug, each in tenants.items() if self._seen.get(slug) is not each]:
            await self._write(changed)
        for slug in self._seen.keys() - tenants.keys():
            await self._plane.effect(lambda slug=slug: self._world.snapshot.pop(_name(slug), None))
            del self._seen[slug]
            self._written.pop(slug, None)

    async def _write(self, some: Sequence[Tenant]) -> None:
        for tenant in some:
            name, content = _name(tenant.slug), orjson.dumps(tenant_content(tenant, FREE, self._world.now))
            present = self._world.snapshot.get(name)
            if present is None or present.content != content:
                await self._replace(name, content)
            self._seen[tenant.slug], self._written[tenant.slug] = tenant, tenant.generation
        self.rewritten.notify()

    async def _write_index(self) -> None:
        await self._replace(INDEX, orjson.dumps(index_content(self._world.now)))
        self._indexed_at = self._world.monotonic

    async def _replace(self, name: str, content: bytes) -> None:
        """By rename."""

        def replace() -> None:
            self._world.require_disk()
            self._world.snapshot[name] = File(self._world.number(), content)

        await self._plane.effect(replace, OSError)


def snapshot_reader(world: World) -> Snapshot:
    """The real reader, on the simulated machine's folder."""
    folder: Any = _Folder(world)
    return Snapshot(folder)


def _name(slug: str) -> str:
    return f"{slug}.json"


class _Folder:
    """What the reader uses of `Path`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __truediv__(self, name: str) -> _Entry:
        return _Entry(self._world, name)


class _Entry:
    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def stat(self) -> Any:
        return SimpleNamespace(st_ino=self._file.number, st_mtime_ns=0, st_size=len(self._file.content))

    def read_bytes(self) -> bytes:
        return self._file.content

    @property
    def _file(self) -> File:
        found = self._world.snapshot.get(self._name)
        if found is None:
            raise FileNotFoundError(self._name)
        return found
