"""Usage, each call counted once: what `domain.usage` finds new in an instance's reading, added up by day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, func, insert, select, update

from control_plane.domain.state import NANO_PER_USD
from control_plane.domain.usage import COUNTERS, WHOLE, Counted, Origin, Subject, compared_with, count, reading_from
from control_plane.store.schema import epochs, keys, usage_days, usage_model_days, usage_model_readings, usage_readings

WHOLE_ID = 0  # key_id of the whole instance


def collect(connection: Connection, tenant: str, epoch: int, document: Mapping[str, Any], at: float) -> None:
    """Count a reading of `/api/instance/usage`. The same again, or an older one, counts nothing.

    Raises KeyError, TypeError or ValueError when the reading is not one; nothing is written then.
    """
    reading, today = reading_from(document), day_of(at)
    counted = _counted(connection, tenant, epoch)
    origins = _origins(connection, tenant)
    copied = epoch in origins and origins[epoch].copied
    older, before = None, None
    if copied and WHOLE not in counted:
        older = compared_with(epoch, origins, _read(connection, tenant))
        before = _counted(connection, tenant, older) if older is not None else None
    found = count(reading, counted, today, copied=copied, before=before)
    for (day, subject), gained in found.gains.items():
        table = usage_model_days if subject.kind == "model" else usage_days
        _add(connection, table, {"tenant": tenant, "epoch": epoch, "day": day, **_column(subject)}, gained)
    _keep(connection, tenant, epoch, counted, found.counted, at)
    if older is not None and before is not None:
        _keep(connection, tenant, older, before, found.counted_before, at)
    for subject, now in found.counted.items():
        used = reading.last_used_at.get(int(subject.name)) if subject.kind == "key" else None
        if used is not None and counted.get(subject) != now:
            _used(connection, tenant, int(subject.name), used)
    if reading.storage_bytes:
        whole = {"tenant": tenant, "epoch": epoch, "day": today, **_column(WHOLE)}
        _add(connection, usage_days, whole, dict.fromkeys(COUNTERS, 0))
        size = update(usage_days).where(_is(usage_days, whole))
        connection.execute(size.values(storage_bytes=reading.storage_bytes))


def totals(
    connection: Connection, slugs: list[str], *, first_day: str | None, last_day: str | None, by: str
) -> list[dict[str, Any]]:
    """Records `{tenant, epoch, day, …}`, newest day first; `by` day (whole instances), key or model."""
    table = usage_model_days if by == "model" else usage_days
    chosen: list[ColumnElement[bool]] = [table.c.tenant.in_(slugs)]
    if by == "model":
        last: ColumnElement[Any] = table.c.model
    else:
        last = table.c.key_id
        chosen.append(last != WHOLE_ID if by == "key" else last == WHOLE_ID)
    if first_day:
        chosen.append(table.c.day >= first_day)
    if last_day:
        chosen.append(table.c.day <= last_day)
    order = (table.c.day.desc(), table.c.tenant, table.c.epoch.desc(), last)
    return [_record(row, by) for row in connection.execute(select(table).where(*chosen).order_by(*order))]


def month(connection: Connection, tenant: str, at: float) -> dict[str, Any]:
    """What a tenant used since the first of the month: requests, tokens, cost."""
    first = day_of(at)[:8] + "01"
    sums = [func.coalesce(func.sum(usage_days.c[name]), 0).label(name) for name in COUNTERS]
    chosen = (usage_days.c.tenant == tenant) & (usage_days.c.key_id == WHOLE_ID) & (usage_days.c.day >= first)
    row = connection.execute(select(*sums).where(chosen)).one()
    return {
        "since": first,
        "requests": int(row.requests),
        "tokens_in": int(row.tokens_in),
        "tokens_out": int(row.tokens_out),
        "cost_usd": int(row.cost_nano) / NANO_PER_USD,
    }


def day_of(at: float) -> str:
    """The UTC day of a time, as the records name it."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _counted(connection: Connection, tenant: str, epoch: int) -> dict[Subject, Counted]:
    """How far every subject of the epoch is counted."""
    found: dict[Subject, Counted] = {}
    for table in (usage_readings, usage_model_readings):
        for row in connection.execute(select(table).where(table.c.tenant == tenant, table.c.epoch == epoch)):
            if table is usage_model_readings:
                subject = Subject("model", row.model)
            else:
                subject = WHOLE if row.key_id == WHOLE_ID else Subject("key", str(row.key_id))
            found[subject] = Counted(day_of(row.at), {name: int(row._mapping[name]) for name in COUNTERS})
    return found


def _origins(connection: Connection, tenant: str) -> dict[int, Origin]:
    rows = connection.execute(select(epochs.c.n, epochs.c.restored, epochs.c.parent).where(epochs.c.tenant == tenant))
    return {row.n: Origin(row.restored, row.parent) for row in rows}


def _read(connection: Connection, tenant: str) -> set[int]:
    """The epochs of which there was a reading."""
    whole = (usage_readings.c.tenant == tenant) & (usage_readings.c.key_id == WHOLE_ID)
    return set(connection.execute(select(usage_readings.c.epoch).where(whole)).scalars())


def _keep(
    connection: Connection,
    tenant: str,
    epoch: int,
    before: Mapping[Subject, Counted],
    now: Mapping[Subject, Counted],
    at: float,
) -> None:
    """Write down how far an epoch is counted, where that changed."""
    for subject, counted in now.items():
        if before.get(subject) != counted:
            table = usage_model_readings if subject.kind == "model" else usage_readings
            _put(
                connection,
                table,
                {"tenant": tenant, "epoch": epoch, **_column(subject)},
                {"at": at, **counted.counters},
            )


def _column(subject: Subject) -> dict[str, Any]:
    """The column that tells the rows of one kind of subject apart."""
    if subject.kind == "model":
        return {"model": subject.name}
    return {"key_id": WHOLE_ID if subject == WHOLE else int(subject.name)}


def _is(table: Table, place: Mapping[str, Any]) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in place.items()))


def _put(connection: Connection, table: Table, place: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    if connection.execute(update(table).where(_is(table, place)).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**place, **values))


def _add(connection: Connection, table: Table, place: Mapping[str, Any], gained: Mapping[str, int]) -> None:
    added = {name: table.c[name] + value for name, value in gained.items()}
    if connection.execute(update(table).where(_is(table, place)).values(**added)).rowcount == 0:
        size = {"storage_bytes": 0} if table is usage_days else {}
        connection.execute(insert(table).values(**place, **gained, **size))


def _used(connection: Connection, tenant: str, key_id: int, at: float) -> None:
    """Note when a key was last used, unless a later use is known."""
    earlier = keys.c.last_used_at.is_(None) | (keys.c.last_used_at < at)
    mine = (keys.c.tenant == tenant) & (keys.c.id == key_id)
    connection.execute(update(keys).where(mine & earlier).values(last_used_at=at))


def _record(row: Any, by: str) -> dict[str, Any]:
    found = row._mapping
    record = {name: found[name] for name in ("tenant", "epoch", "day")}
    if by != "day":
        name = "model" if by == "model" else "key_id"
        record[name] = found[name]
    record |= {name: found[name] for name in COUNTERS if name != "cost_nano"}
    record["cost_usd"] = row.cost_nano / NANO_PER_USD
    return record if by == "model" else record | {"storage_bytes": row.storage_bytes}
