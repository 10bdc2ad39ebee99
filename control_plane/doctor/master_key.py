"""The master key: whether it opens every tenant's secrets, and whether one loss, or one theft, would take it with the copies."""

from __future__ import annotations

from pathlib import Path

from control_plane.backups.places import Places
from control_plane.config import Config
from control_plane.doctor.finding import Finding, Level, good
from control_plane.doctor.subject import Subject
from control_plane.master_key import load_master_key, old_files
from control_plane.store import sealed

RUNBOOK = "MasterKeyWithBackups"


def judge_master_key(config: Config, *, in_environment: bool) -> Finding:
    """Is the master key kept apart from the backups?"""
    replicas = Places(config.replica_url).folder
    key = config.master_key_file
    if in_environment:
        return good("master_key", "given by the environment")
    why = "it opens every tenant's secrets; without it the copies restore, and no secret in them can be opened"
    mend = "set master_key_file to a place that the copies do not go to, and keep another copy of it offline"
    if replicas is not None and _within(key, replicas):
        seen = f"{key} lies among the copies in {replicas}"
        return Finding("master_key", Level.BAD, seen, why, mend, "", RUNBOOK)
    if replicas is not None and _same_disk(key, replicas):
        seen = f"{key} lies on the same disk as the copies in {replicas}"
        return Finding("master_key", Level.WARN, seen, why, mend, "", RUNBOOK)
    return good("master_key", f"{key}, apart from the copies")


async def check_sealed(subject: Subject) -> Finding:
    """Does a key that is known here open every tenant's secrets, and is it the present one?"""
    key = load_master_key(subject.config)
    found = await subject.read(lambda connection: sealed.look(connection, key))
    why = "an instance whose secrets do not open cannot be started"
    if found.unopenable:
        seen = f"no key known here opens the secrets of {', '.join(found.unopenable[:5])}"
        return Finding("sealed_secrets", Level.BAD, seen, why, "put the key that sealed them back", "", RUNBOOK)
    rotate = "stockyard-cloud master-key rotate"
    if found.earlier or key.is_interrupted():
        seen = f"the secrets of {len(found.earlier)} tenants are under an earlier key"
        return Finding("sealed_secrets", Level.WARN, seen, why, "finish the rotation", rotate, RUNBOOK)
    old = [path.name for path in old_files(key.file)] if key.file is not None else []
    also = f"; {', '.join(old)} open backups of control.db from before a rotation" if old else ""
    return good("sealed_secrets", f"key {key.id} opens the secrets of {len(found.current)} tenants{also}")


def judge_replica_disk(config: Config) -> Finding:
    """Would the copies survive the disk of the originals?"""
    replicas = Places(config.replica_url).folder
    if replicas is None or not _same_disk(config.data, replicas):
        return good("replica_place", f"copies go to {config.replica_url.partition('?')[0]}")
    seen = f"copies in {replicas} lie on the disk of the originals"
    why = "a lost disk takes both"
    mend = "set replica_url to a folder of another disk or machine, to s3:// or to sftp://"
    return Finding("replica_place", Level.WARN, seen, why, mend, "", "StoreUnreachable")


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _same_disk(path: Path, other: Path) -> bool:
    try:
        return path.stat().st_dev == other.stat().st_dev
    except OSError:
        return False
