"""The backups of this machine: one Litestream that carries every tenant's database and the control plane's own."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from control_plane.backups.control_socket import ControlSocket, NotRegistered
from control_plane.backups.pace import Pacer
from control_plane.backups.places import TENANTS, Places, epoch_folder, tenant_folder
from control_plane.backups.program import verdict_of
from control_plane.backups.pruning import superfluous
from control_plane.backups.registrations import Registrations
from control_plane.backups.restore import history, restore
from control_plane.config import Config
from control_plane.reconcile.ports import RestoreOutcome, RestoreResult, Synced, Unavailable, VerifyResult

DATABASE = "stockyard.db"
CONTROL = ".control"  # no slug begins with a dot
CONTROL_CHECK_S = 2.0

_log = logging.getLogger(__name__)


class LitestreamBackups:
    """Drives Litestream over its control socket; `start` begins what runs in the background, `close` ends it.

    Nothing that must be remembered is held only here: what is registered is asked of Litestream, and to which epoch
    lies in `run/replicating/`.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._places = Places(config.replica_url)
        self._control = ControlSocket(config.litestream_socket)
        self._registrations = Registrations(self._control, config.run_dir / "replicating")
        self._paced: dict[str, Path] = {}
        self._pacer = Pacer(self._control, config.replica_sync_ms / 1000, lambda: self._paced)
        self._unattached: dict[str, float] = {}  # should be copied and is not, since (monotonic)
        self._incarnation: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        if self._places.folder == config.replicas_dir:
            config.replicas_dir.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Begin to keep the replicas close behind, in the running event loop."""
        shutil.rmtree(self._workshop, ignore_errors=True)
        work = (self._pacer.run(), self._keep_control_registered())
        self._tasks = [asyncio.create_task(each) for each in work]

    async def close(self) -> None:
        """End the background work; Litestream itself goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- tenants ------------------------------------------------------------------------------------------------------

    async def registered(self, slug: str | None = None) -> Mapping[str, int]:
        """Tenants whose database is being copied now, or only this one, and to which epoch.

        Raises `Unavailable` also while the store is away: nothing could be attached to it then, and nothing confirmed.
        """
        self._places.require()
        if slug is not None:
            noted = await self._registrations.epoch(slug, self._database(slug))
            return {slug: noted} if noted is not None else {}
        listed = await self._control.databases()
        tenants = [path.parent.name for path in listed if path == self._database(path.parent.name)]
        found = {slug: epoch for slug in tenants if (epoch := self._registrations.noted(slug)) is not None}
        control = {CONTROL: self._config.database_file} if self._config.database_file in listed else {}
        self._paced = control | {slug: self._database(slug) for slug in found}
        return found

    async def register(self, slug: str, epoch: int) -> None:
        """Copy the tenant's database to this epoch from now on."""
        self._places.require()
        database = self._database(slug)
        await self._registrations.register(slug, database, epoch, self._places.tenant(slug, epoch))
        self._paced[slug] = database

    async def unregister(self, slug: str) -> None:
        """Sync a last time, then end the copying."""
        await self._registrations.unregister(slug, self._database(slug))
        self._paced.pop(slug, None)
        self._pacer.forget(slug)

    async def sync_wait(self, slug: str) -> Synced:
        """Everything committed before the call is at the replica when it returns."""
        database = self._database(slug)
        try:
            txid = await self._pacer.sync(slug, database)
        except NotRegistered as problem:
            raise Unavailable(str(problem)) from None
        return Synced(txid=txid, bytes=_size(database))

    async def restore(self, slug: str, epoch: int, into: Path, *, at: str | None = None) -> RestoreResult:
        """Write the database of that epoch to `into`; see `restore.restore`."""
        self._places.require()
        return await restore(self._places.tenant(slug, epoch), into, at)

    async def verify(self, slug: str, epoch: int) -> VerifyResult:
        """Restore the epoch elsewhere, check every page and every ledger entry, and remove the copy."""
        return await self._verify(self._places.tenant(slug, epoch))

    async def latest_txid(self, slug: str, epoch: int) -> int | None:
        """The newest transaction id at the replica of that epoch; None if there is none."""
        self._places.require()
        found = await history(self._places.tenant(slug, epoch))
        return found.last_txid if found else None

    async def destroy(self, slug: str) -> None:
        """Remove every epoch of a deleted tenant."""
        await self._places.store.remove_folder(tenant_folder(slug))
        self._registrations.forget(slug)
        self._pacer.forget(slug)

    # --- how far behind -----------------------------------------------------------------------------------------------

    def lag(self) -> Mapping[str, float]:
        """By tenant, how old the oldest write is, in seconds, that is not known to be at its replica; 0: everything is.

        One that should be copied and is not counts from when that was first seen. Sleeping ones are not in it.
        """
        return {slug: self.lag_of(slug) or 0.0 for slug in {*self._paced, *self._unattached} - {CONTROL}}

    def lag_of(self, slug: str) -> float | None:
        """The same of one tenant; None when its database is not being written, as far as is known here."""
        if (since := self._unattached.get(slug)) is not None:
            return time.monotonic() - since
        database = self._paced.get(slug)
        return self._pacer.lag_s(slug, database) if database is not None else None

    def control_lag(self) -> float | None:
        """The same of the control plane's own database; None when this process does not have it copied."""
        return self.lag_of(CONTROL) if self._incarnation is not None else None

    def expect(self, slugs: Iterable[str]) -> None:
        """These tenants are awake: one of them that is not registered falls behind, whatever it writes."""
        wanted = [*slugs, *([CONTROL] if self._incarnation is not None else [])]
        now = time.monotonic()
        self._unattached = {
            slug: self._unattached.get(slug) or self._pacer.behind_since(slug) or now
            for slug in wanted
            if slug not in self._paced
        }

    async def expire(self, slug: str, epoch: int) -> None:
        """Remove the replica of a closed epoch. Raises `Unavailable` while it is being written."""
        if (await self.registered()).get(slug) == epoch:
            raise Unavailable(f"epoch {epoch} of {slug} is being copied to")
        await self._places.store.remove_folder(epoch_folder(slug, epoch))

    async def prune(self, slug: str, epoch: int, begin: float) -> float | None:
        """Remove what no restore to a time from `begin` on reads; the oldest time that can be restored afterwards."""
        found = superfluous(await self._places.store.entries(epoch_folder(slug, epoch)), begin)
        await self._places.store.remove(found.names)
        return found.reaches_back_to

    async def owners(self) -> set[str]:
        """Slugs of which there is a replica."""
        return await self._places.store.folders(TENANTS)

    # --- the control plane's own database -----------------------------------------------------------------------------

    def replicate_control(self, incarnation: int) -> None:
        """Copy control.db to this incarnation's place from now on, whenever Litestream runs."""
        self._incarnation = incarnation

    async def sync_control(self) -> int:
        """Everything committed to control.db is at its replica when this returns; the transaction id."""
        try:
            return await self._pacer.sync(CONTROL, self._config.database_file)
        except NotRegistered as problem:
            raise Unavailable(str(problem)) from None

    async def verify_control(self, incarnation: int) -> VerifyResult:
        """Restore control.db elsewhere, check every page and every entry of its ledger."""
        return await self._verify(self._places.control(incarnation))

    async def restore_control(self, incarnation: int, into: Path, *, at: str | None = None) -> RestoreResult:
        """Write control.db of that incarnation to the file `into`."""
        self._places.require()
        return await restore(self._places.control(incarnation), into, at)

    async def _keep_control_registered(self) -> None:
        while True:
            if self._incarnation is not None:
                try:
                    await self._register_control(self._incarnation)
                except Unavailable as problem:
                    _log.warning("control.db is not being copied: %s", problem)
            await asyncio.sleep(CONTROL_CHECK_S)

    async def _register_control(self, incarnation: int) -> None:
        database = self._config.database_file
        if not database.exists():
            return
        self._places.require()
        if await self._registrations.epoch(CONTROL, database) not in (None, incarnation):
            await self._registrations.unregister(CONTROL, database)
        await self._registrations.register(CONTROL, database, incarnation, self._places.control(incarnation))
        self._paced[CONTROL] = database

    # --- shared -------------------------------------------------------------------------------------------------------

    async def _verify(self, place: str) -> VerifyResult:
        self._places.require()
        self._workshop.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._workshop))
        try:
            copy = folder / DATABASE
            restored = await restore(place, copy)
            if restored.outcome is not RestoreOutcome.RESTORED:
                return VerifyResult(ok=False, detail=f"{restored.outcome}: {restored.detail}")
            checked = await verdict_of("control_plane.backups.check", str(copy))
        finally:
            await asyncio.to_thread(shutil.rmtree, folder)
        return VerifyResult(
            ok=checked.ok,
            txid=restored.txid,
            ledger_seq=checked.ledger_seq,
            ledger_hash=checked.ledger_hash,
            bytes=checked.bytes,
            detail=checked.detail,
        )

    @property
    def _workshop(self) -> Path:
        """Where copies are restored to be checked; what lies there at a start was left by a crash."""
        return self._config.run_dir / "verify"

    def _database(self, slug: str) -> Path:
        return self._config.tenant_dir(slug) / DATABASE


def _size(database: Path) -> int:
    """Bytes on disk, with what still lies in the WAL."""
    size = database.stat().st_size
    with suppress(FileNotFoundError):
        size += database.with_name(f"{database.name}-wal").stat().st_size
    return size
