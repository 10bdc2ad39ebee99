"""A scrape: looks everything up that is not counted while it happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import Metric
from sqlalchemy import Connection

from control_plane.api.plane import Plane
from control_plane.doctor.backups import LAG_S, VERIFY_S
from control_plane.doctor.descriptors import Descriptors, look_at_descriptors
from control_plane.doctor.disk import look_at_disk
from control_plane.doctor.services import ups
from control_plane.domain.tenants import Status
from control_plane.metrics.activator import activator_families, activator_stats
from control_plane.metrics.family import exposition, gauge, gauges, info
from control_plane.store import overview, tenants
from control_plane.version import VERSION


async def scrape(plane: Plane) -> str:
    """The text that Prometheus reads."""
    now = time.time()

    def read(connection: Connection) -> Looked:
        found = overview.backups(connection, now, lag_s=LAG_S, verify_s=VERIFY_S)
        ages = overview.backup_ages(connection, now) if plane.config.metrics_per_tenant else {}
        counts = tenants.count_by_status(connection)
        return Looked(counts, found, overview.last_usage_at(connection), overview.sizes(connection), ages)

    looked, stats, answering = await asyncio.gather(
        plane.database.read(read), activator_stats(plane.config), ups(plane.config)
    )
    descriptors = await asyncio.to_thread(look_at_descriptors, plane.config.run_dir)
    families = [
        *_about(plane, now),
        *_tenants(looked, plane),
        *_loop(plane.reconciler.status() if plane.reconciler is not None else None),
        *_backups(looked, now),
        *_machine(plane, looked, descriptors),
        gauges("component_up", "1 while it answers what it should.", "component", answering),
        gauges("doctor_level", "Of the last check-up: 0 in order, 1 look at it, 2 bad.", "check", plane.levels),
        *activator_families(stats),
    ]
    return exposition(plane.instruments.registry, families)


class Looked:
    """What was read of the database, in one look."""

    def __init__(
        self,
        counts: Mapping[str, int],
        backups: overview.Backups,
        usage_at: float | None,
        rows: Mapping[str, int],
        ages: Mapping[str, float],
    ) -> None:
        self.counts, self.backups, self.usage_at, self.rows, self.ages = counts, backups, usage_at, rows, ages


def _about(plane: Plane, now: float) -> Iterator[Metric]:
    words = {"version": VERSION, "runtime": plane.config.runtime}
    yield info("build", "Version and runtime of the control plane.", words)
    yield gauge("uptime_seconds", "Seconds since the control plane started.", now - plane.started_at)
    yield gauge("incarnation", "How often it was restored from a backup, plus one.", plane.incarnation)


def _tenants(looked: Looked, plane: Plane) -> Iterator[Metric]:
    counts = {status.value: looked.counts.get(status, 0) for status in Status}
    yield gauges("tenants", "Tenants by status.", "status", counts)
    if plane.config.metrics_per_tenant:
        meaning = "Seconds since the tenant's backup was confirmed; only with the setting metrics_per_tenant."
        yield gauges("tenant_backup_age_seconds", meaning, "tenant", looked.ages)


def _loop(status: Mapping[str, Any] | None) -> Iterator[Metric]:
    told = status or {}
    since = told.get("since_pass_s")
    yield gauge("reconciler_running", "1 while the loop runs in this process.", float(status is not None))
    yield gauge("reconciler_paused", "1 while it is paused by hand.", float(bool(told.get("paused"))))
    yield gauge("reconciler_pass_seconds", "How long the last pass over all tenants took.", told.get("pass_s") or 0.0)
    yield gauge("reconciler_since_pass_seconds", "Seconds since the last whole pass.", since or 0.0)
    yield gauge("reconciler_working", "Tenants being worked on.", _count(told.get("working")))
    yield gauge("reconciler_backing_off", "Tenants that wait for another try.", _count(told.get("backing_off")))


def _count(found: Any) -> float:
    return float(len(found)) if hasattr(found, "__len__") else float(found or 0)


def _backups(looked: Looked, now: float) -> Iterator[Metric]:
    found = looked.backups
    yield gauge("backup_lag_seconds", "Longest time that a used tenant has gone unconfirmed.", found.oldest_confirmed_s)
    yield gauge("backup_verified_age_seconds", "Age of the oldest verification.", found.oldest_verified_s)
    numbers = {"lagging": len(found.lagging), "unverified": len(found.unverified), "broken": len(found.broken)}
    yield gauges("backups", "Tenants whose backup is so.", "state", numbers)
    age = now - looked.usage_at if looked.usage_at is not None else 0.0
    yield gauge("usage_collected_age_seconds", "Seconds since usage was last collected of any instance.", age)


def _machine(plane: Plane, looked: Looked, descriptors: list[Descriptors]) -> Iterator[Metric]:
    disk = look_at_disk(plane.config.data)
    yield gauge("disk_free_bytes", "Free on the data folder's file system.", disk.free_bytes)
    yield gauge("disk_total_bytes", "Size of the data folder's file system.", disk.total_bytes)
    yield gauge("disk_free_inodes", "Free inodes of it.", disk.free_inodes)
    yield gauge("database_bytes", "Size of the control plane's own database.", _database_bytes(plane))
    yield gauges("database_rows", "Rows of tables that grow by themselves.", "table", looked.rows)
    share = {each.process.replace(" ", "_"): each.open / max(1, each.limit) for each in descriptors}
    yield gauges("descriptors_share", "File descriptors in use, of those allowed.", "process", share)


def _database_bytes(plane: Plane) -> float:
    file = plane.config.database_file
    parts = [file, file.with_name(file.name + "-wal")]
    return float(sum(path.stat().st_size for path in parts if path.exists()))
