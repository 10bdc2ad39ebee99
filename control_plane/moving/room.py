"""Where exports and imports do their work: a folder for each, one at a time for a tenant, a few at a time in all."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection

from control_plane.config import Config
from control_plane.errors import CloudError
from control_plane.moving.fetch import Fetcher
from control_plane.reconcile.volumes import FolderVolumes
from control_plane.runtimes import instance_owner
from control_plane.store.keys import MAX_KEYS, beyond

AT_ONCE = 4
RETRY_AFTER_S = 30
STAGED = ".staged"


class Room:
    """Beside the tenants' volumes, so that a database goes there by a rename."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._busy: set[str] = set()
        self.volumes = FolderVolumes(config, instance_owner(config))
        self.fetcher = Fetcher()
        self._last_key_id = 0

    def sweep(self, known: Iterable[str]) -> None:
        """Remove what a crash left: work in progress, and a staged database whose tenant was never opened."""
        shutil.rmtree(self._folder, ignore_errors=True)
        staged = {path.name.removesuffix(STAGED): path for path in self._config.tenants_dir.glob(f"*{STAGED}")}
        for slug in staged.keys() - set(known):
            shutil.rmtree(staged[slug], ignore_errors=True)

    @asynccontextmanager
    async def work(self, slug: str) -> AsyncIterator[Path]:
        """An empty folder for one export or import of this tenant, gone afterwards. Raises `conflict` or `rate_limited`."""
        retry = {"Retry-After": str(RETRY_AFTER_S)}
        if slug in self._busy:
            raise CloudError(
                "conflict", f"tenant `{slug}` is being exported or imported; try again later", headers=retry
            )
        if len(self._busy) >= AT_ONCE:
            raise CloudError("rate_limited", "too many exports and imports at once; try again later", headers=retry)
        self._busy.add(slug)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            try:
                yield folder
            finally:
                await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))
        finally:
            self._busy.discard(slug)

    def key_ids(self, connection: Connection) -> int:
        """The first of `MAX_KEYS` numbers of keys that are given to nobody else."""
        first = beyond(connection, self._last_key_id)
        self._last_key_id = first + MAX_KEYS
        return first

    @property
    def _folder(self) -> Path:
        return self._config.data / "moving"
