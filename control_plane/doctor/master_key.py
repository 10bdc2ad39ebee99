"""Where the master key and the copies lie: one loss, or one theft, must not take both."""

from __future__ import annotations

from pathlib import Path

from control_plane.backups.places import Places
from control_plane.config import Config
from control_plane.doctor.finding import Finding, Level, good

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
