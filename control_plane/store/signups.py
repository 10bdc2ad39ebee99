"""Who signed up lately: kept in the database, so that the limits outlive the control plane's process; an hour and no longer."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import Column, Connection, delete, func, insert, select

from control_plane.errors import CloudError
from control_plane.store.schema import signups

WINDOW_S = 3_600.0


def take(connection: Connection, address: str, domain: str, *, per_address: int, per_domain: int, now: float) -> None:
    """Count a sign-up from a network address and of a mail domain, or raise `rate_limited` with Retry-After."""
    connection.execute(delete(signups).where(signups.c.at <= now - WINDOW_S))
    wait_s = max(
        _wait_s(connection, signups.c.address, address, per_address, now),
        _wait_s(connection, signups.c.domain, domain, per_domain, now),
    )
    if wait_s > 0:
        retry = {"Retry-After": str(math.ceil(wait_s))}
        raise CloudError("rate_limited", "too many sign-ups from here; try again later", headers=retry)
    connection.execute(insert(signups).values(at=now, address=address, domain=domain))


def _wait_s(connection: Connection, column: Column[Any], name: str, limit: int, now: float) -> float:
    """0 when there may be one more, else the seconds until the oldest that stands in the way is an hour old."""
    newest = select(signups.c.at).where(column == name).order_by(signups.c.at.desc()).limit(limit).subquery()
    count, oldest = connection.execute(select(func.count(), func.min(newest.c.at)).select_from(newest)).one()
    return float(oldest) + WINDOW_S - now if count >= limit else 0.0
