"""The control plane's own database: whole, and its ledger unbroken."""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

from control_plane import ledger
from control_plane.doctor.finding import Finding, Level, good
from control_plane.doctor.subject import Subject

RUNBOOK = "LedgerBroken"
MEND = "keep a copy of what is there, then restore: it goes back to the newest sound copy"


async def check_ledger(subject: Subject) -> Finding:
    """Walk the chain."""
    verdict = await subject.read(ledger.verify)
    if verdict["valid"]:
        return good("ledger", f"{verdict['events_checked']} entries hold")
    seen = f"broken at entry {verdict['broken_at_id']}: {verdict['reason']}"
    why = "somebody changed the record of what was done, or the disk lost some of it"
    return Finding("ledger", Level.BAD, seen, why, MEND, "stockyard-cloud restore --dry-run", RUNBOOK)


async def check_database(subject: Subject) -> Finding:
    """SQLite's own check of its pages."""
    if subject.config.database_url:
        return good("database", "one of your own, by `database_url`")
    try:
        said = await subject.read(_quick_check)
    except DatabaseError as problem:
        said = f"{subject.config.database_file} cannot be read: {problem.orig}"
    if said == "ok":
        return good("database", f"{subject.config.database_file} is whole")
    why = "accounts, keys and tenants live in it"
    return Finding("database", Level.BAD, said[:300], why, MEND, "stockyard-cloud restore --dry-run", RUNBOOK)


def _quick_check(connection: Connection) -> str:
    return str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
