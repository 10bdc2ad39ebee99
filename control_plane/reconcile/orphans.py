"""What exists on the machine for tenants that the control plane does not have: ended and forgotten, its data kept."""

from __future__ import annotations

import logging
from collections.abc import Collection

from control_plane.reconcile.look import Machine
from control_plane.reconcile.perform import Parts
from control_plane.reconcile.ports import Unavailable
from control_plane.runtimes.protocol import EngineError

log = logging.getLogger(__name__)
GRACE_S = 10.0
PATIENCE_S = 5.0  # between the first time that the database did not know it and the last
LISTED_EVERY_S = 600.0
NAMED_AT_MOST = 1_000


class Orphans:
    """Ends instances that nobody owns, once they were unknown for a while; names data and backups that nobody owns.

    Data and backups are never removed from here: a control plane that lost its database must be able to find them.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._unknown_since: dict[str, float] = {}
        self._listed_at: float | None = None
        self.unowned: dict[str, list[str]] = {"data": [], "backups": []}

    async def see(self, known: Collection[str], machine: Machine) -> None:
        """Go through what a pass saw."""
        await self._end_unknown(known, machine)
        now = self._parts.clock.monotonic()
        if self._listed_at is None or now - self._listed_at >= LISTED_EVERY_S:
            self._listed_at = now
            await self._list_unowned(known)

    # --- instances ------------------------------------------------------------------------------------------------------

    async def _end_unknown(self, known: Collection[str], machine: Machine) -> None:
        found = {*machine.instances, *machine.linked, *machine.registered}.difference(known)
        now = self._parts.clock.monotonic()
        self._unknown_since = {slug: at for slug, at in self._unknown_since.items() if slug in found}
        for slug in sorted(found):
            if await self._parts.store.tenant(slug) is not None:
                self._unknown_since.pop(slug, None)  # it was created a moment ago
            elif now - self._unknown_since.setdefault(slug, now) >= PATIENCE_S:
                await self._remove(slug, machine)

    async def _remove(self, slug: str, machine: Machine) -> None:
        """Unroute, end and forget it; what fails is tried again at the next pass."""
        instance, linked, registered, _ = machine.of(slug)
        log.warning("removing what is left of unknown tenant %s", slug)
        try:
            if linked is not None:
                await self._parts.edge.unlink(slug)
            if instance is not None:
                if instance.alive:
                    await self._parts.runtime.stop(slug, GRACE_S)
                await self._parts.runtime.remove(slug)
            if registered is not None:
                await self._parts.backups.unregister(slug)
        except (EngineError, Unavailable, OSError) as error:
            log.error("unknown tenant %s is still there: %s", slug, error)
            return
        what = {"instance": instance is not None, "link": linked is not None, "copying": registered is not None}
        await self._parts.store.orphan_ended(slug, [name for name, was in what.items() if was])

    # --- data -----------------------------------------------------------------------------------------------------------

    async def _list_unowned(self, known: Collection[str]) -> None:
        lists = {"data": self._parts.volumes.owners, "backups": self._parts.backups.owners}
        for name, owners in lists.items():
            try:
                strangers = sorted((await owners()).difference(known))
            except (Unavailable, OSError) as error:
                log.warning("unowned %s cannot be listed: %s", name, error)
                continue
            self.unowned[name] = strangers[:NAMED_AT_MOST]
