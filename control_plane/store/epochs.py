"""Epochs: the numbered lives of a tenant's database, and what of each is known to be safe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from control_plane.domain.found_epochs import AT_LEAST, backed_up, found_epochs
from control_plane.domain.tenants import Epoch
from control_plane.errors import CloudError
from control_plane.store.record import record
from control_plane.store.schema import epochs, tenants

ACTOR = "control_plane"
EPOCH_COLUMNS = [epochs.c[each.name] for each in fields(Epoch)]
EPOCHS_OF = select(*EPOCH_COLUMNS).where(epochs.c.tenant == bindparam("slug")).order_by(epochs.c.n)
NAMED_IN_A_QUERY = 500  # of more tenants than that, all rows are read and the others passed over


def of(connection: Connection, slug: str) -> list[Epoch]:
    """A tenant's epochs, oldest first."""
    return [Epoch(*row) for row in connection.execute(EPOCHS_OF, {"slug": slug})]


def of_each(connection: Connection, slugs: Sequence[str]) -> dict[str, list[Epoch]]:
    """The epochs of several tenants, oldest first, by slug."""
    found: dict[str, list[Epoch]] = {slug: [] for slug in slugs}
    query = select(*EPOCH_COLUMNS).order_by(epochs.c.tenant, epochs.c.n)
    if len(slugs) <= NAMED_IN_A_QUERY:
        query = query.where(epochs.c.tenant.in_(slugs))
    for row in connection.execute(query).all():
        if (mine := found.get(row[0])) is not None:
            mine.append(Epoch(*row))
    return found


def of_all(connection: Connection) -> dict[str, list[Epoch]]:
    """The epochs of every tenant, oldest first, by slug."""
    return of_each(connection, connection.execute(select(tenants.c.slug)).scalars().all())


def open_next(connection: Connection, slug: str, parent: int | None, restored_from_at: str | None) -> Epoch:
    """The next epoch, made the tenant's own; earlier ones are closed. Its number was never given out before."""
    now = time.time()
    tenant = connection.execute(select(tenants.c.epoch, tenants.c.restore).where(tenants.c.slug == slug)).one()
    highest = connection.execute(select(func.max(epochs.c.n)).where(epochs.c.tenant == slug)).scalar_one()
    n = max(highest or 0, tenant.epoch) + 1
    open_ones = (epochs.c.tenant == slug) & epochs.c.closed_at.is_(None)
    connection.execute(update(epochs).where(open_ones).values(closed_at=now))
    copied = parent is not None or restored_from_at is not None or _is_anothers(tenant.restore)
    row = {"tenant": slug, "n": n, "parent": parent, "restored": copied, "started_at": now}
    connection.execute(insert(epochs).values(**row, bytes=0, ledger_seq=0, ledger_hash=""))
    connection.execute(update(tenants).where(tenants.c.slug == slug).values(epoch=n))
    message = f"epoch {n} begins" + (f" after epoch {parent}" if parent else "")
    detail: dict[str, Any] = {"epoch": n, "parent": parent, "restored_from_at": restored_from_at}
    record(connection, actor=ACTOR, action="epoch.begin", tenant=slug, message=message, detail=detail)
    return get(connection, slug, n)


def adopt(connection: Connection, at_store: Mapping[str, Mapping[int, tuple[float, float]]]) -> int:
    """Write down what the backups' store knows of epochs and this database does not, by tenant; of how many epochs.

    See `domain.found_epochs`.
    """
    adopted = 0
    for row in connection.execute(select(tenants.c.slug, tenants.c.epoch, tenants.c.restore)).all():
        lives, there = of(connection, row.slug), at_store.get(row.slug, {})
        for n, last_at in backed_up(lives, there).items():
            kept = {"confirmed_at": last_at, "confirmed_txid": AT_LEAST}
            connection.execute(update(epochs).where(_is(row.slug, n)).values(**kept))
            adopted += 1
        for found in found_epochs(row.epoch, [each.n for each in lives], there, cloned=_is_anothers(row.restore)):
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
    row = connection.execute(select(*EPOCH_COLUMNS).where(_is(slug, n))).first()
    if row is None:
        raise CloudError("not_found", f"tenant `{slug}` has no epoch {n}")
    return Epoch(*row)


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
    now = time.time()
    outcome = {"verified_at": now, "broken_at": None} if ok else {"broken_at": now}
    connection.execute(update(epochs).where(_is(slug, n)).values(**outcome))
    connection.execute(update(tenants).where(tenants.c.slug == slug).values(verify_requested_at=None))
    message = f"backup of epoch {n} " + ("verified" if ok else "did not verify")
    kind = "backup.verified" if ok else "backup.broken"
    known = {"epoch": n} | {name: _plain(value) for name, value in detail.items()}
    record(connection, actor=ACTOR, action=kind, tenant=slug, message=message, detail=known)


def expire(connection: Connection, slug: str, n: int) -> None:
    """Its replica is removed, being older than the plan keeps; again is no error."""
    kept = _is(slug, n) & epochs.c.expired_at.is_(None)
    if connection.execute(update(epochs).where(kept).values(expired_at=time.time())).rowcount:
        message = f"the backup of epoch {n} is removed: it is older than the plan keeps"
        record(connection, actor=ACTOR, action="backup.expired", tenant=slug, message=message, detail={"epoch": n})


def forget_all(connection: Connection, slug: str, now: float) -> None:
    """The replicas of a purged tenant are gone with it, all at once; its purge is what is recorded."""
    kept = (epochs.c.tenant == slug) & epochs.c.expired_at.is_(None)
    connection.execute(update(epochs).where(kept).values(expired_at=now))


def reach_back(connection: Connection, slug: str, n: int, to: float) -> None:
    """Copies from before were removed: it restores to no time before `to`. An observation, without a ledger entry."""
    connection.execute(update(epochs).where(_is(slug, n)).values(reaches_back_to=to))


def _is(slug: str, n: int) -> Any:
    return (epochs.c.tenant == slug) & (epochs.c.n == n)


def _is_anothers(restore: Mapping[str, Any] | None) -> bool:
    """The tenant waits for the database of another, or for one that was brought in from elsewhere."""
    return bool(restore and (restore.get("source") or restore.get("imported")))


def _plain(value: Any) -> Any:
    """What a ledger entry may hold: no floats."""
    return value if value is None or isinstance(value, (str, int)) else str(value)
