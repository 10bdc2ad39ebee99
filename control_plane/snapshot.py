"""`run/snapshot.json`: what the activator must know while the control plane is down. Digests of keys, never keys."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from control_plane.domain.plans import Plan
from control_plane.domain.state import desired_state
from control_plane.domain.tenants import Generation, Tenant
from control_plane.store import tenants
from control_plane.store.database import Changes, Database

VERSION = 1
REFRESH_S = 60.0  # rewritten at least this often, so that its age says whether the plane lives


class Snapshot:
    """Keeps the file in step with the database: `run()` rewrites it, whole or not at all, after each change."""

    def __init__(self, database: Database, path: Path, plan: Callable[[str], Plan]) -> None:
        self._database = database
        self._path = path
        self._plan = plan
        self._written: dict[str, Generation] = {}
        self._last: dict[str, Any] | None = None
        self._written_at = 0.0
        self.rewritten = Changes()

    def has(self, slug: str, generation: Generation) -> bool:
        """True when the file on disk holds at least this generation of the tenant."""
        return self._written.get(slug, Generation(0, 0)) >= generation

    async def run(self) -> None:
        """Rewrite after each change, for ever."""
        while True:
            seen = self._database.changed.count
            await self.write()
            await self._database.changed.wait(seen, REFRESH_S)

    async def write(self) -> None:
        """Rewrite the file now, if it would say anything else or is old."""
        everyone = await self._database.read(tenants.every)
        now = time.time()
        content = snapshot(everyone, self._plan, now)
        if content["tenants"] != self._last or now - self._written_at >= REFRESH_S:
            await asyncio.to_thread(_replace, self._path, orjson.dumps(content))
            self._last, self._written_at = content["tenants"], now
        self._written = {tenant.slug: tenant.generation for tenant in everyone}
        self.rewritten.notify()


def snapshot(everyone: Iterable[Tenant], plan: Callable[[str], Plan], now: float) -> dict[str, Any]:
    """The file's content. `state` is what is pushed to the instance before it is routed to."""
    return {
        "version": VERSION,
        "written_at": now,
        "tenants": {
            tenant.slug: {
                "status": tenant.status,
                "desired": tenant.desired,
                "reason": tenant.reason,
                "failure": tenant.failure,
                "since": tenant.since,
                "keys": [
                    {"sha256": key.sha256, "expires_at": key.expires_at} for key in tenant.keys if key.valid_at(now)
                ],
                "state": desired_state(tenant, plan(tenant.plan)),
            }
            for tenant in everyone
        },
    }


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)  # not synced: after a power cut the plane writes it anew before anything runs
    partial.replace(path)
