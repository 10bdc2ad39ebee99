"""The store of the backups: a small object is written, read back and removed."""

from __future__ import annotations

import asyncio
import secrets

from control_plane.backups.places import Places
from control_plane.config import Config
from control_plane.doctor.finding import Finding, Level, good
from control_plane.reconcile.ports import Unavailable

FOLDER = "doctor"
PROBE_S = 20.0
RUNBOOK = "StoreUnreachable"


async def check_store(config: Config) -> Finding:
    """Can a backup be written there, and read again?"""
    places = Places(config.replica_url)
    try:
        async with asyncio.timeout(PROBE_S):
            return good("replica_store", f"{places.shown} {await _probe(places)}")
    except (Unavailable, OSError, TimeoutError) as problem:
        seen = f"{places.shown}: {str(problem) or 'no answer in time'}"
        why = "nothing is copied there, and nothing can be restored from there"
        mend = "mount it, or see to its address, its credentials in the service's environment, and its room"
        return Finding("replica_store", Level.BAD, seen, why, mend, "", RUNBOOK)


async def _probe(places: Places) -> str:
    """Raises `Unavailable` or OSError with what did not work."""
    if not places.listed:
        return "is reached by Litestream alone: its confirmations are checked instead"
    places.require()
    name, content = f"{FOLDER}/probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
    try:
        await places.store.put(name, content)
        if await places.store.get(name) != content:
            raise Unavailable("it gave back something else than was written")
    finally:
        await places.store.remove_folder(FOLDER)
    return "takes, gives back and removes an object"
