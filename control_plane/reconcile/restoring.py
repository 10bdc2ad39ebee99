"""Restores and new lives: the actions that decide which database stands on a tenant's volume."""

from __future__ import annotations

from control_plane.domain.tenants import Tenant
from control_plane.reconcile import actions as act
from control_plane.reconcile.ports import Backups, RestoreOutcome, Store, Volumes
from control_plane.reconcile.restore_plan import candidates

IMPORT_UNUSABLE = "the imported database is gone or did not verify: delete the tenant and import it again"


class Restoring:
    """Order matters in each: the epoch is taken first, so that no database ever continues another life's replica."""

    def __init__(self, store: Store, backups: Backups, volumes: Volumes) -> None:
        self._store = store
        self._backups = backups
        self._volumes = volumes

    async def carry_out(self, action: act.Action, tenant: Tenant) -> None:
        """Any of the actions below; raises TypeError for another."""
        slug = tenant.slug
        match action:
            case act.BeginLife():
                await self._begin(slug, action.parent)
            case act.BeginRestoredLife():
                at = tenant.restore.at if tenant.restore is not None else None
                epoch = await self._store.new_epoch(slug, action.parent, restored_from_at=at)
                await self._volumes.activate(slug, epoch.n)
                other = "the imported file" if tenant.restore and tenant.restore.imported else "another tenant"
                source = f"epoch {action.parent}" if action.parent else other
                await self._store.event(slug, "restore.placed", f"epoch {epoch.n} begins with the database of {source}")
            case act.PutBack():
                epoch = await self._store.new_epoch(slug, action.parent)
                await self._volumes.put_back(slug, epoch.n)
                await self._store.event(slug, "restore.undone", f"epoch {epoch.n} begins with the database from before")
            case act.ReportRejected():
                detail = {
                    "ok": False,
                    "detail": "the restored database did not verify; the one from before is put back",
                }
                await self._store.restore_done(slug, action.request, detail)
            case act.Tidy():
                await (self._volumes.drop_staged(slug) if action.staged else self._volumes.drop_aside(slug))
            case _:
                raise TypeError(f"no such action: {action!r}")

    async def stage(self, tenant: Tenant, action: act.StageRestore) -> str:
        """Restore the first candidate that holds anything; what it says when an operator has to decide, else "".

        An epoch is passed over in favour of an older one only if there is no backup of it and nothing of it was ever
        confirmed, or nothing of it reaches back to the time asked for. One that is there and cannot be read may hold
        calls that were answered: whether it was confirmed may have been forgotten, with the control plane's database.
        """
        slug, source = tenant.slug, action.source or tenant.slug
        read = action.candidates
        if action.source:
            read = candidates(await self._store.epochs(source), tenant.restore)
        if tenant.restore is not None and tenant.restore.imported:
            return await self._refuse(tenant, action, IMPORT_UNUSABLE)
        into = await self._volumes.staging_file(slug)
        for candidate in read:
            result = await self._backups.restore(source, candidate.epoch, into, at=action.at)
            if result.outcome is RestoreOutcome.RESTORED and action.at is None and result.txid < candidate.txid:
                lacks = f"epoch {candidate.epoch}: its backup ends at {result.txid}, {candidate.txid} was confirmed"
                return await self._refuse(tenant, action, lacks)
            if result.outcome is RestoreOutcome.RESTORED:
                await self._volumes.staged(slug, action.request, None if action.source else candidate.epoch)
                await self._store.event(
                    slug, "restore.staged", f"epoch {candidate.epoch} was restored", {"at": action.at}
                )
                return ""
            empty = result.outcome is RestoreOutcome.NOTHING
            if not empty or (candidate.confirmed and action.at is None):
                return await self._refuse(tenant, action, f"epoch {candidate.epoch}: {result.detail or result.outcome}")
        if action.request:
            return await self._refuse(tenant, action, "there is no backup to restore")
        lives = await self._store.epochs(slug)
        lost = [each.n for each in lives if each.confirmed_txid is not None and each.expired_at is None]
        if lost:
            return await self._refuse(tenant, action, f"the backups of epochs {lost} are no longer the tenant's")
        await self._begin(slug, tenant.epoch or None)
        return ""

    async def _refuse(self, tenant: Tenant, action: act.StageRestore, why: str) -> str:
        """A request is answered, and the tenant goes on with what it has; else the operator has to decide.

        A clone or an import has nothing else to go on with, and an empty one would look like a whole one.
        """
        await self._store.event(tenant.slug, "restore.failed", why)
        nothing_else = action.source or (tenant.restore is not None and tenant.restore.imported)
        if not action.request or nothing_else:
            return why
        await self._store.restore_done(tenant.slug, action.request, {"ok": False, "detail": why})
        return ""

    async def _begin(self, slug: str, parent: int | None) -> None:
        epoch = await self._store.new_epoch(slug, parent)
        await self._volumes.prepare(slug, epoch.n)
