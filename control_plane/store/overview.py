"""What an operator watches, over all tenants at once: counts and ages, for the metrics and the check-up."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, case, func, literal, select

from control_plane.domain.tenants import Status
from control_plane.store.schema import epochs, events, ledger, tenants, usage_readings


class Failed(NamedTuple):
    """A tenant that cannot be served, and the code of why."""

    slug: str
    failure: str


class Backups(NamedTuple):
    """Ages in seconds over the open epochs of all tenants; 0 where there is nothing that could be old."""

    oldest_confirmed_s: float  # of those that were used since: what a lost machine would lose
    oldest_verified_s: float
    lagging: tuple[str, ...]
    unverified: tuple[str, ...]
    broken: tuple[str, ...]


def failed(connection: Connection) -> list[Failed]:
    """Tenants that failed, by name."""
    chosen = (tenants.c.status == Status.FAILED) & tenants.c.purged_at.is_(None)
    rows = connection.execute(select(tenants.c.slug, tenants.c.failure).where(chosen).order_by(tenants.c.slug))
    return [Failed(row.slug, row.failure) for row in rows]


def images(connection: Connection) -> dict[str, int]:
    """How many tenants run which image."""
    query = select(tenants.c.image, func.count()).where(tenants.c.purged_at.is_(None)).group_by(tenants.c.image)
    return {row[0]: row[1] for row in connection.execute(query)}


def slugs(connection: Connection) -> set[str]:
    """Tenants whose data may lie on this machine."""
    return set(connection.execute(select(tenants.c.slug).where(tenants.c.purged_at.is_(None))).scalars())


def backups(connection: Connection, now: float, *, lag_s: float, verify_s: float) -> Backups:
    """How safe everybody's data is. A tenant lags when it was used and nothing was confirmed for `lag_s` since."""
    mine = epochs.join(tenants, epochs.c.tenant == tenants.c.slug)
    open_ones = epochs.c.closed_at.is_(None) & tenants.c.purged_at.is_(None)
    safe_since = func.coalesce(epochs.c.confirmed_at, epochs.c.started_at)
    unsafe_s = case((tenants.c.last_request_at > safe_since, literal(now) - safe_since), else_=literal(0.0))
    verified_s = literal(now) - func.coalesce(epochs.c.verified_at, epochs.c.started_at)
    confirmed = epochs.c.confirmed_at.is_not(None)
    query = (
        select(
            epochs.c.tenant,
            unsafe_s.label("unsafe_s"),
            case((confirmed, verified_s), else_=literal(0.0)).label("verified_s"),
            epochs.c.broken_at,
        )
        .select_from(mine)
        .where(open_ones)
        .order_by(epochs.c.tenant)
    )
    rows = connection.execute(query).all()
    return Backups(
        max((row.unsafe_s for row in rows), default=0.0),
        max((row.verified_s for row in rows), default=0.0),
        tuple(row.tenant for row in rows if row.unsafe_s > lag_s),
        tuple(row.tenant for row in rows if row.verified_s > verify_s),
        tuple(row.tenant for row in rows if row.broken_at is not None),
    )


def backup_ages(connection: Connection, now: float) -> dict[str, float]:
    """Seconds since each tenant's open epoch was confirmed, by slug; those never confirmed are left out."""
    query = (
        select(epochs.c.tenant, func.max(epochs.c.confirmed_at))
        .select_from(epochs.join(tenants, epochs.c.tenant == tenants.c.slug))
        .where(epochs.c.closed_at.is_(None), tenants.c.purged_at.is_(None), epochs.c.confirmed_at.is_not(None))
        .group_by(epochs.c.tenant)
    )
    return {row[0]: max(0.0, now - row[1]) for row in connection.execute(query)}


def last_usage_at(connection: Connection) -> float | None:
    """When usage was last collected of any instance."""
    at: float | None = connection.execute(select(func.max(usage_readings.c.at))).scalar_one_or_none()
    return at


def sizes(connection: Connection) -> dict[str, int]:
    """Rows of the tables that grow by themselves."""
    return {
        table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for table in (events, ledger)
    }
