"""`run/snapshot/`: what the activator must know while the control plane is down. Digests of keys, never keys.

A file a tenant, `SLUG.json`, replaced whole by rename when something of that tenant changed, and `.index`, which says when
all of them were last known to be true, and in which boot of the machine. Nothing is synced to the disk: after a crash of
the machine the index is of another boot, and none of it is believed until the control plane has gone through it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection

from control_plane.domain.plans import Plan
from control_plane.domain.state import desired_state
from control_plane.domain.tenants import Generation, Tenant
from control_plane.routing.snapshot import INDEX
from control_plane.runtimes.proc import boot_id
from control_plane.store import tenants
from control_plane.store.database import Changes, Database

log = logging.getLogger(__name__)

VERSION = 2
INDEX_EVERY_S = 10.0  # its age tells for how long the plane has not kept the folder up
SWEEP_EVERY_S = 600.0  # every file is compared with the database, whatever happened to it
AT_ONCE = 200  # tenants that are read and written in one piece
RETRY_S = 1.0


class Snapshot:
    """Keeps the folder in step with the database: `run()` writes what changed, tenant by tenant."""

    def __init__(self, database: Database, folder: Path, plan: Callable[[str], Plan]) -> None:
        self._database = database
        self._folder = folder
        self._plan = plan
        self._written: dict[str, Generation] = {}
        self._swept_at = self._indexed_at = 0.0
        self.rewritten = Changes()

    def has(self, slug: str, generation: Generation) -> bool:
        """True when the tenant's file holds at least this generation."""
        return self._written.get(slug, Generation(0, 0)) >= generation

    async def run(self) -> None:
        """Write after each change, for ever."""
        while True:
            seen = self._database.changed.count
            try:
                if time.monotonic() - self._swept_at >= SWEEP_EVERY_S:
                    await self.write()
                await self._write_changed()
                if time.monotonic() - self._indexed_at >= INDEX_EVERY_S:
                    await asyncio.to_thread(self._write_index)
            except OSError as error:  # a full disk, say: nothing that was not written counts as written
                log.error("the snapshot cannot be written: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            await self._database.changed.wait(seen, INDEX_EVERY_S)

    async def write(self) -> None:
        """Compare every file with the database, and write those that differ."""
        known: set[str] = set()
        slug = ""
        while some := await self._database.read(partial(tenants.following, after=slug, limit=AT_ONCE)):
            slug = some[-1].slug
            known.update(tenant.slug for tenant in some)
            await self._write(some)
            await self._write_changed()
        await asyncio.to_thread(self._remove_others, known)
        self._written = {slug: each for slug, each in self._written.items() if slug in known}
        await self._write_changed()  # one made meanwhile may have been taken for one that is gone
        await asyncio.to_thread(self._write_index)
        self._swept_at = time.monotonic()

    async def _write_changed(self) -> None:
        """Write the tenants that were changed since this was last done."""
        while slugs := self._database.changed_tenants.take():
            try:
                found = await self._database.read(partial(_find, slugs=slugs))
                await self._write([tenant for _, tenant in found if tenant is not None])
                for slug in (slug for slug, tenant in found if tenant is None):
                    self._path(slug).unlink(missing_ok=True)
                    self._written.pop(slug, None)
            except BaseException:
                self._database.changed_tenants.put_back(slugs)
                raise
            self.rewritten.notify()

    async def _write(self, some: list[Tenant]) -> None:
        await asyncio.to_thread(self._replace_different, some)
        self._written.update((tenant.slug, tenant.generation) for tenant in some)

    def _replace_different(self, some: Iterable[Tenant]) -> None:
        now = time.time()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for tenant in some:
            content = orjson.dumps(tenant_content(tenant, self._plan(tenant.plan), now))
            path = self._path(tenant.slug)
            with suppress(OSError):
                if path.read_bytes() == content:
                    continue
            _replace(path, content)

    def _remove_others(self, known: set[str]) -> None:
        for path in self._folder.glob("*.json") if self._folder.is_dir() else ():
            if path.stem not in known:
                path.unlink(missing_ok=True)

    def _write_index(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(self._folder / INDEX, orjson.dumps(index_content(time.time())))
        self._indexed_at = time.monotonic()

    def _path(self, slug: str) -> Path:
        return self._folder / f"{slug}.json"


def _find(connection: Connection, slugs: Iterable[str]) -> list[tuple[str, Tenant | None]]:
    return [(slug, tenants.find(connection, slug)) for slug in slugs]


def index_content(now: float) -> Mapping[str, Any]:
    """What the index says."""
    return {"version": VERSION, "written_at": now, "boot": boot_id()}


def tenant_content(tenant: Tenant, plan: Plan, now: float) -> Mapping[str, Any]:
    """One tenant's file. `state` is what is pushed to the instance before it is routed to."""
    return {
        "slug": tenant.slug,
        "status": tenant.status,
        "desired": tenant.desired,
        "reason": tenant.reason,
        "failure": tenant.failure,
        "since": tenant.since,
        "keys": [
            {"sha256": key.sha256, "kind": key.kind, "expires_at": key.expires_at}
            for key in tenant.keys
            if key.valid_at(now)
        ],
        "state": desired_state(tenant, plan),
    }


def _replace(path: Path, content: bytes) -> None:
    making = path.with_name(f".{path.name}.making")
    making.unlink(missing_ok=True)
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    making.replace(path)
