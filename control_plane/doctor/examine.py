"""All checks of a check-up, side by side; one that cannot be made is a finding of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from control_plane.config import ENV_PREFIX
from control_plane.doctor import clock, descriptors, disk, master_key, permissions
from control_plane.doctor.backups import check_backups, check_own_backup
from control_plane.doctor.database import check_database, check_ledger
from control_plane.doctor.engine import check_engine
from control_plane.doctor.finding import WEIGHT, Finding, Level, unknown
from control_plane.doctor.loop import judge_loop
from control_plane.doctor.notebook import Sample, clocks_now, read_notes, with_sample, write_notes
from control_plane.doctor.services import check_activator, check_edge, check_litestream
from control_plane.doctor.store import check_store
from control_plane.doctor.subject import Subject
from control_plane.doctor.tenants import check_failed, check_images, check_unowned
from control_plane.store import overview

CHECK_S = 30.0
READS_ALL = ("database", "ledger")
Check = Callable[[Subject], Awaitable[Finding | list[Finding]]]


async def examine(subject: Subject, *, thorough: bool = True) -> list[Finding]:
    """Every finding, in the order of `CHECKS`; nothing is changed but the doctor's own notes.

    Without `thorough` what reads the whole database is left out.
    """
    checks = {name: check for name, check in CHECKS.items() if thorough or name not in READS_ALL}
    found = await asyncio.gather(*(_made(name, check, subject) for name, check in checks.items()))
    return [finding for group in found for finding in group]


def report(findings: Iterable[Finding], *, plane_runs: bool) -> dict[str, Any]:
    """The answer of `GET /api/doctor`, and of the command when no plane answers."""
    findings = list(findings)
    return {
        "ok": all(each.level is not Level.BAD for each in findings),
        "plane_runs": plane_runs,
        "counts": {level.value: sum(each.level is level for each in findings) for level in Level},
        "checks": [each.shown() for each in findings],
    }


def worst(findings: Iterable[Finding]) -> dict[str, int]:
    """By name of the check: 0 ok, 1 warn, 2 bad."""
    levels: dict[str, int] = {}
    for each in findings:
        levels[each.name] = max(levels.get(each.name, 0), WEIGHT[each.level])
    return levels


async def _made(name: str, check: Check, subject: Subject) -> list[Finding]:
    try:
        async with asyncio.timeout(CHECK_S):
            found = await check(subject)
    except TimeoutError:
        return [unknown(name, f"no result within {CHECK_S:.0f} s")]
    except Exception as problem:  # a check that breaks is told like any other trouble, and hides none of the others
        reason = str(problem).partition("\n")[0]
        return [unknown(name, f"could not be checked: {type(problem).__name__}: {reason}"[:400])]
    return [_placed(each, subject) for each in (found if isinstance(found, list) else [found])]


def _placed(finding: Finding, subject: Subject) -> Finding:
    """With the data folder written out, so that a command can be copied."""
    return replace(finding, command=finding.command.replace("DATA", str(subject.config.data)))


async def _disk(subject: Subject) -> list[Finding]:
    folder = subject.config.data
    seen = disk.look_at_disk(folder)
    notes, now = read_notes(subject.config.run_dir), clocks_now()
    samples = with_sample(notes.samples, Sample(now.wall, seen.free_bytes))
    write_notes(subject.config.run_dir, now, samples)
    return [
        disk.judge_writable(folder),
        disk.judge_space(seen),
        disk.judge_inodes(seen),
        disk.judge_growth([*samples, Sample(now.wall, seen.free_bytes)]),
        clock.judge_jump(notes.clocks, now),
        clock.judge_synchronised(clock.is_synchronised()),
    ]


async def _permissions(subject: Subject) -> list[Finding]:
    return await asyncio.to_thread(
        lambda: [permissions.judge_secrets(subject.config), permissions.judge_sockets(subject.config)]
    )


async def _keys(subject: Subject) -> list[Finding]:
    given = bool(os.environ.get(f"{ENV_PREFIX}MASTER_KEY"))
    return [
        master_key.judge_master_key(subject.config, in_environment=given),
        master_key.judge_replica_disk(subject.config),
    ]


async def _descriptors(subject: Subject) -> Finding:
    tenants = len(await subject.read(overview.slugs))
    return descriptors.judge_descriptors(descriptors.look_at_descriptors(subject.config.run_dir), tenants)


async def _loop(subject: Subject) -> list[Finding]:
    return judge_loop(subject)


CHECKS: dict[str, Check] = {
    "database": check_database,
    "ledger": check_ledger,
    "disk": _disk,
    "secrets": _permissions,
    "master_key": _keys,
    "sealed_secrets": master_key.check_sealed,
    "reconciler": _loop,
    "tenants": check_failed,
    "edge": lambda subject: check_edge(subject.config),
    "activator": lambda subject: check_activator(subject.config),
    "litestream": lambda subject: check_litestream(subject.config),
    "engine": lambda subject: check_engine(subject.config),
    "replica_store": lambda subject: check_store(subject.config),
    "backups": check_backups,
    "own_backup": check_own_backup,
    "descriptors": _descriptors,
    "images": check_images,
    "folders": check_unowned,
}
