"""The backups' ages: who lags, who was not verified for long, whose copy is broken, and the plane's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection

from control_plane.backups.control_copy import proof
from control_plane.backups.lag_watch import CAUGHT_UP, LAGGING
from control_plane.backups.places import Places
from control_plane.backups.restore import history
from control_plane.config import Config
from control_plane.doctor.finding import Finding, Level, good
from control_plane.doctor.subject import Subject
from control_plane.domain.state import rfc3339
from control_plane.reconcile.ports import Unavailable
from control_plane.store import overview, tenants
from control_plane.store.record import last_of_kinds

LAG_S = 120.0
VERIFY_S = 2 * 86_400.0
OWN_WARN_S = 3_600.0
LIST_S = 12.0
NAMED_MOST = 5


async def check_backups(subject: Subject) -> list[Finding]:
    """Of all tenants."""

    def read(connection: Connection) -> overview.Backups:
        found = overview.backups(connection, subject.now, lag_s=LAG_S, verify_s=VERIFY_S)
        last = last_of_kinds(connection, (LAGGING, CAUGHT_UP))
        behind = {slug for slug, kind in last.items() if kind == LAGGING} & overview.slugs(connection)
        return found._replace(lagging=tuple(sorted({*found.lagging, *behind})))

    return judge_backups(await subject.read(read))


def judge_backups(found: overview.Backups) -> list[Finding]:
    """Lagging, unverified, broken."""
    return [
        _judge(
            "backup_lag",
            found.lagging,
            Level.BAD,
            f"its replica is behind, or nothing was confirmed for over {LAG_S:.0f} s of use",
            "what was written since would be lost with this machine",
            "see to Litestream and the store; it catches up by itself",
            "stockyard-cloud tenants show SLUG",
            "BackupLagging",
        ),
        _judge(
            "backup_verified",
            found.unverified,
            Level.WARN,
            f"not verified for over {VERIFY_S / 86_400:.0f} days",
            "a copy counts only once it was restored elsewhere and checked",
            "have it verified now and read what its events say",
            "stockyard-cloud backups verify SLUG",
            "BackupUnverified",
        ),
        _judge(
            "backup_broken",
            found.broken,
            Level.BAD,
            "restored elsewhere, and not sound",
            "from this copy the tenant cannot be brought back whole",
            "verify again; if it stays so, restart the tenant from its sound volume under a new epoch",
            "stockyard-cloud tenants events SLUG",
            "BackupBroken",
        ),
    ]


async def check_own_backup(subject: Subject) -> Finding:
    """Of the control plane's own database."""
    config = subject.config
    if config.database_url:
        return good("own_backup", "`database_url` names a database of your own: you back it up")
    try:
        written = config.database_file.stat().st_mtime
        incarnation, own = await subject.read(tenants.incarnation), await subject.read(proof)
        async with asyncio.timeout(LIST_S):
            found = await history(Places(config.replica_url).control(incarnation))
    except (Unavailable, OSError, TimeoutError) as problem:
        return _own(f"it cannot be listed: {str(problem) or 'no answer in time'}", Level.BAD)
    if found is None:
        return _own(f"there is none of incarnation {incarnation}", Level.BAD if subject.plane_runs else Level.WARN)
    written = max(written, _changed_at(config))
    behind = written - found.last.timestamp()
    if behind > OWN_WARN_S:
        return _own(f"it is {behind / 3600:.1f} h behind the database", Level.BAD)
    if own.broken_at is not None:
        return _own(f"restored elsewhere at {rfc3339(own.broken_at)}, and not sound", Level.BAD)
    return good("own_backup", f"incarnation {incarnation}, newest change {found.last.isoformat()}")


def _changed_at(config: Config) -> float:
    log = config.database_file.with_name(config.database_file.name + "-wal")
    try:
        return log.stat().st_mtime if log.stat().st_size else 0.0
    except OSError:
        return 0.0


def _own(seen: str, level: Level) -> Finding:
    why = "accounts, keys and which backups there are live in it alone"
    mend = "run everything by `stockyard-cloud up`, so that Litestream is attached to it, then confirm"
    return Finding("own_backup", level, seen, why, mend, "stockyard-cloud backup", "ControlBackupOld")


def _judge(
    name: str, slugs: Sequence[str], level: Level, what: str, why: str, mend: str, command: str, runbook: str
) -> Finding:
    if not slugs:
        return good(name, "none")
    more = f" and {len(slugs) - NAMED_MOST} more" if len(slugs) > NAMED_MOST else ""
    seen = f"{', '.join(slugs[:NAMED_MOST])}{more}: {what}"
    return Finding(name, level, seen, why, mend, command.replace("SLUG", slugs[0]), runbook)
