"""What exists on the machine for a tenant that the control plane does not have: ended and forgotten, its data kept."""

from __future__ import annotations

import logging

from control_plane.reconcile.look import Machine
from control_plane.reconcile.perform import Parts
from control_plane.reconcile.ports import Unavailable
from control_plane.runtimes.protocol import EngineError

log = logging.getLogger(__name__)
GRACE_S = 10.0


async def remove_orphan(parts: Parts, slug: str, machine: Machine) -> None:
    """Unroute, end and forget it; what fails is tried again at the next pass."""
    instance, linked, registered, _ = machine.of(slug)
    log.warning("removing what is left of unknown tenant %s", slug)
    try:
        if linked is not None:
            await parts.edge.unlink(slug)
        if instance is not None:
            if instance.alive:
                await parts.runtime.stop(slug, GRACE_S)
            await parts.runtime.remove(slug)
        if registered is not None:
            await parts.backups.unregister(slug)
    except (EngineError, Unavailable, OSError) as error:
        log.error("unknown tenant %s is still there: %s", slug, error)
