"""Epochs: the numbered lives of a tenant's database, and what of each is known to be safe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from control_plane.domain.found_epochs import AT_LEAST, found_epochs
from control_plane.domain.tenants import Epoch
from control_plane.errors import CloudError
from control_plane.store.record import record
from control_plane.store.rows import epoch_from
from control_plane.store.schema import epochs, tenants

ACTOR = "control_plane"


def of(connection: Connection, slug: str) -> list[Epoch]:
    """A tenant's epochs, oldest first."""
    rows = connection.execute(select(epochs).where(epochs.c.tenant == slug).order_by(epochs.c.n))
    return [epoch_from(row) for row in rows]


def of_each(connection: Connection, slugs: Sequence[str]) -> dict[str, list[Epoch]]:
    """The epochs of several tenants, oldest first, by slug."""
    found: dict[str, list[Epoch]] = {slug: [] for slug in slugs}
    for row in connection.execute(select(epochs).where(epochs.c.tenant.in_(slugs)).order_by(epochs.c.n)):
        found[row.tenant].append(epoch_from(row))
    return found


def open_next(connection: Connection, slug: str, parent: int | None, restored_from_at: str | None) -> Epoch:
    """The next epoch, made the tenant's own; earlier ones are closed. Its number was never given out before."""
    now = time.time()
    tenant = connection.execute(select(tenants.c.epoch, tenants.c.restore).where(tenants.c.slug == slug)).one()
    highest = connection.execute(select(func.max(epochs.c.n)).where(epochs.c.tenant == slug)).scalar_one()
    n = max(highest or 0, tenant.epoch) + 1
    open_ones = (epochs.c.tenant == slug) & epochs.c.closed_at.is_(None)
    connection.execute(update(epochs).where(open_ones).values(closed_at=now))
    copied = parent is not None or restored_from_at is not None or tenant.restore is not None
    row = {"tenant": slug, "n": n, "parent": parent, "restored": copied, "started_at": now}
    connection.execute(insert(epochs).values(**row, bytes=0, ledger_seq=0, ledger_hash=""))
    connection.execute(update(tenants).where(tenants.c.slug == slug).values(epoch=n))
    message = f"epoch {n} begins" + (f" after epoch {parent}" if parent else "")
    detail: dict[str, Any] = {"epoch": n, "parent": parent, "restored_from_at": restored_from_at}
    record(connection, actor=ACTOR, action="epoch.begin", tenant=slug, message=message, detail=detail)
    return get(connection, slug, n)


def adopt(connection: Connection, at_store: Mapping[str, Mapping[int, tuple[float, float]]]) -> int:
    """Write down the epochs that are at the backups' store and not here, by tenant; how many. See `domain.found_epochs`."""
    adopted = 0
    for row in connection.execute(select(tenants.c.slug, tenants.c.epoch, tenants.c.restore)).all():
        known = connection.execute(select(epochs.c.n).where(epochs.c.tenant == row.slug)).scalars().all()
        for found in found_epochs(row.epoch, known, at_store.get(row.slug, {}), cloned=_is_clone(row.restore)):
            open_ones = (epochs.c.tenant == row.slug) & epochs.c.closed_at.is_(None)
            connection.execute(update(epochs).where(open_ones).values(closed_at=found.first_at))
            life = {"tenant": row.slug, "n": found.n, "parent": found.parent, "restored": found.copied}
            times = {"started_at": found.first_at, "confirmed_at": found.last_at, "confirmed_txid": AT_LEAST}
            connection.execute(insert(epochs).values(**life, **times, bytes=0, ledger_seq=0, ledger_hash=""))
            connection.execute(update(tenants).where(tenants.c.slug == row.slug).values(epoch=found.n))
            adopted += 1
    return adopted


def get(connection: Connection, slug: str, n: int) -> Epoch:
    """The epoch. Raises `not_found`."""
    row = connection.execute(select(epochs).where(_is(slug, n))).first()
    if row is None:
        raise CloudError("not_found", f"tenant `{slug}` has no epoch {n}")
    return epoch_from(row)


def oldest_unverified(connection: Connection) -> float | None:
    """When the longest unverified of all open, confirmed backups was last verified, or began; None when there is none."""
    safe_since = func.coalesce(epochs.c.verified_at, epochs.c.started_at)
    open_ones = epochs.c.closed_at.is_(None) & epochs.c.confirmed_at.is_not(None)
    return connection.execute(select(func.min(safe_since)).where(open_ones)).scalar_one_or_none()


def close(connection: Connection, slug: str, n: int) -> None:
    """The epoch takes no more writes; again is no error."""
    still_open = _is(slug, n) & epochs.c.closed_at.is_(None)
    if connection.execute(update(epochs).where(still_open).values(closed_at=time.time())).rowcount:
        detail = {"epoch": n}
        record(connection, actor=ACTOR, action="epoch.close", tenant=slug, message=f"epoch {n} closed", detail=detail)


def confirm(
    connection: Connection,
    slug: str,
    n: int,
    txid: int,
    *,
    size_bytes: int | None,
    ledger_seq: int | None,
    ledger_hash: str | None,
) -> None:
    """The replica is durable up to `txid`: an observation, without a ledger entry; it never lowers what is known."""
    known = connection.execute(select(epochs).where(_is(slug, n))).one()
    values: dict[str, Any] = {"confirmed_at": time.time()}
    if known.first_txid is None:
        values["first_txid"] = txid
    if known.confirmed_txid is None or txid > known.confirmed_txid:
        values["confirmed_txid"] = txid
    if size_bytes is not None:
        values["bytes"] = size_bytes
    if ledger_seq is not None and ledger_seq >= known.ledger_seq:
        values |= {"ledger_seq": ledger_seq, "ledger_hash": ledger_hash or ""}
    connection.execute(update(epochs).where(_is(slug, n)).values(**values))


def verified(connection: Connection, slug: str, n: int, *, ok: bool, detail: Mapping[str, Any]) -> None:
    """The outcome of restoring the epoch elsewhere; answers a verify request."""
    if ok:
        connection.execute(update(epochs).where(_is(slug, n)).values(verified_at=time.time()))
    connection.execute(update(tenants).where(tenants.c.slug == slug).values(verify_requested_at=None))
    message = f"backup of epoch {n} " + ("verified" if ok else "did not verify")
    kind = "backup.verified" if ok else "backup.broken"
    known = {"epoch": n} | {name: _plain(value) for name, value in detail.items()}
    record(connection, actor=ACTOR, action=kind, tenant=slug, message=message, detail=known)


def _is(slug: str, n: int) -> Any:
    return (epochs.c.tenant == slug) & (epochs.c.n == n)


def _is_clone(restore: Mapping[str, Any] | None) -> bool:
    return bool(restore and restore.get("source"))


def _plain(value: Any) -> Any:
    """What a ledger entry may hold: no floats."""
    return value if value is None or isinstance(value, (str, int)) else str(value)
