"""Usage, each call counted once: differences of the instances' cumulative counters, added up by day.

A reading is counted against the last one of the same epoch and key. The base of an epoch's first reading is zero for a
database that began empty; where it began as a copy of another (restore, clone) the first reading itself is the base.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from control_plane.domain.state import NANO_PER_USD
from control_plane.store.schema import epochs, usage_days, usage_readings

COUNTERS = ("requests", "errors", "tokens_in", "tokens_out", "cost_nano", "bytes_out")
WHOLE = 0  # key_id of the whole instance


def collect(connection: Connection, tenant: str, epoch: int, reading: Mapping[str, Any], at: float) -> None:
    """Count a reading of `/api/instance/usage`. The same again, or an older one, counts nothing.

    Raises KeyError or ValueError when the reading is not one; nothing is written then.
    """
    by_key = {int(key): each for key, each in dict(reading.get("by_key") or {}).items()}
    counters = {WHOLE: _counters(reading)} | {key: _counters(each) for key, each in by_key.items() if key != WHOLE}
    storage = int(reading.get("storage_bytes") or 0)
    copied = connection.execute(
        select(epochs.c.restored).where(epochs.c.tenant == tenant, epochs.c.n == epoch)
    ).scalar_one_or_none()
    first = not _readings(connection, tenant, epoch, WHOLE)
    for key_id, now in counters.items():
        last = _readings(connection, tenant, epoch, key_id)
        if not last:
            base = now if copied and first else dict.fromkeys(COUNTERS, 0)
            connection.execute(insert(usage_readings).values(tenant=tenant, epoch=epoch, key_id=key_id, at=at, **now))
        else:
            base = last
            highest = {name: max(last[name], now[name]) for name in COUNTERS}
            connection.execute(update(usage_readings).where(_of(tenant, epoch, key_id)).values(at=at, **highest))
        gained = {name: max(0, now[name] - base[name]) for name in COUNTERS}
        if any(gained.values()) or (key_id == WHOLE and storage):
            _add(connection, tenant, epoch, _day(at), key_id, gained, storage if key_id == WHOLE else 0)


def totals(
    connection: Connection, slugs: list[str], *, first_day: str | None, last_day: str | None, by: str
) -> list[dict[str, Any]]:
    """Records `{tenant, epoch, day, …}`, newest day first; `by` day (whole instances) or key."""
    chosen: list[ColumnElement[bool]] = [usage_days.c.tenant.in_(slugs)]
    chosen.append(usage_days.c.key_id != WHOLE if by == "key" else usage_days.c.key_id == WHOLE)
    if first_day:
        chosen.append(usage_days.c.day >= first_day)
    if last_day:
        chosen.append(usage_days.c.day <= last_day)
    order = (usage_days.c.day.desc(), usage_days.c.tenant, usage_days.c.epoch.desc(), usage_days.c.key_id)
    return [_record(row, by) for row in connection.execute(select(usage_days).where(*chosen).order_by(*order))]


def month(connection: Connection, tenant: str, at: float) -> dict[str, Any]:
    """What a tenant used since the first of the month: requests, tokens, cost."""
    first = _day(at)[:8] + "01"
    sums = [func.coalesce(func.sum(usage_days.c[name]), 0).label(name) for name in COUNTERS]
    chosen = (usage_days.c.tenant == tenant) & (usage_days.c.key_id == WHOLE) & (usage_days.c.day >= first)
    row = connection.execute(select(*sums).where(chosen)).one()
    return {
        "since": first,
        "requests": int(row.requests),
        "tokens_in": int(row.tokens_in),
        "tokens_out": int(row.tokens_out),
        "cost_usd": int(row.cost_nano) / NANO_PER_USD,
    }


def _counters(reading: Mapping[str, Any]) -> dict[str, int]:
    cost = reading.get("cost_nano")
    values = {name: int(reading.get(name) or 0) for name in COUNTERS if name != "cost_nano"}
    values["requests"] = int(reading["requests"])
    values["cost_nano"] = int(cost) if cost is not None else round(float(reading.get("cost_usd") or 0) * NANO_PER_USD)
    return values


def _of(tenant: str, epoch: int, key_id: int) -> Any:
    table = usage_readings.c
    return (table.tenant == tenant) & (table.epoch == epoch) & (table.key_id == key_id)


def _readings(connection: Connection, tenant: str, epoch: int, key_id: int) -> dict[str, int]:
    columns = [usage_readings.c[name] for name in COUNTERS]
    row = connection.execute(select(*columns).where(_of(tenant, epoch, key_id))).first()
    return {name: int(value) for name, value in row._mapping.items()} if row else {}


def _add(
    connection: Connection, tenant: str, epoch: int, day: str, key_id: int, gained: dict[str, int], storage: int
) -> None:
    table = usage_days.c
    here = (table.tenant == tenant) & (table.epoch == epoch) & (table.day == day) & (table.key_id == key_id)
    added = {name: table[name] + value for name, value in gained.items()}
    changed = connection.execute(update(usage_days).where(here).values(**added, storage_bytes=storage))
    if changed.rowcount == 0:
        row = {"tenant": tenant, "epoch": epoch, "day": day, "key_id": key_id, "storage_bytes": storage}
        connection.execute(insert(usage_days).values(**row, **gained))


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _record(row: Any, by: str) -> dict[str, Any]:
    record = {name: row._mapping[name] for name in ("tenant", "epoch", "day")}
    if by == "key":
        record["key_id"] = row.key_id
    record |= {name: row._mapping[name] for name in COUNTERS if name != "cost_nano"}
    return record | {"cost_usd": row.cost_nano / NANO_PER_USD, "storage_bytes": row.storage_bytes}
