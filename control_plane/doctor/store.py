"""The store of the backups: a small object is written, read back and removed."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from control_plane.backups.places import Places
from control_plane.backups.s3 import Bucket
from control_plane.config import Config
from control_plane.doctor.finding import Finding, Level, good
from control_plane.reconcile.ports import Unavailable

FOLDER = "doctor"
PROBE_S = 20.0
RUNBOOK = "StoreUnreachable"


async def check_store(config: Config) -> Finding:
    """Can a backup be written there, and read again?"""
    try:
        async with asyncio.timeout(PROBE_S):
            shown = await asyncio.to_thread(_probe, config.replica_url)
    except (Unavailable, OSError, TimeoutError) as problem:
        seen = f"{address_shown(config.replica_url)}: {str(problem) or 'no answer in time'}"
        why = "nothing is copied there, and nothing can be restored from there"
        mend = "mount it, or see to its address, its credentials in the service's environment, and its room"
        return Finding("replica_store", Level.BAD, seen, why, mend, "", RUNBOOK)
    return good("replica_store", shown)


def _probe(replica_url: str) -> str:
    """Raises `Unavailable` or OSError with what did not work."""
    name, text = f"probe-{secrets.token_hex(8)}", secrets.token_hex(16)
    folder = Places(replica_url).folder
    if folder is not None:
        _probe_folder(folder, name, text)
    elif urlsplit(replica_url).scheme == "s3":
        bucket = Bucket(urlsplit(replica_url))
        bucket.put(f"{FOLDER}/{name}", text)
        try:
            if bucket.get(f"{FOLDER}/{name}") != text:
                raise Unavailable("it gave back something else than was written")
        finally:
            bucket.remove(FOLDER)
    else:
        return f"{address_shown(replica_url)} is reached by Litestream alone: its confirmations are checked instead"
    return f"{address_shown(replica_url)} takes, gives back and removes an object"


def _probe_folder(folder: Path, name: str, text: str) -> None:
    if not folder.is_dir():
        raise Unavailable("the folder is not there")
    path = folder / f".{name}"
    try:
        path.write_text(text, encoding="ascii")
        if path.read_text(encoding="ascii") != text:
            raise Unavailable("it gave back something else than was written")
    finally:
        path.unlink(missing_ok=True)


def address_shown(replica_url: str) -> str:
    """Without what may hold credentials."""
    parts = urlsplit(replica_url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}" if parts.scheme else replica_url
