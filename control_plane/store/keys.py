"""Keys of tenants: the control plane is their source of truth. Only digests are kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from control_plane.domain.tenants import KeyRecord
from control_plane.errors import CloudError
from control_plane.store.record import record
from control_plane.store.rows import key_from
from control_plane.store.schema import keys, tenants

IDS_APART = 10_000
MAX_KEYS = 1_000  # per tenant, revoked ones left out


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be kept; `sha256` and `prefix` stand for its text, which is never stored."""

    name: str
    kind: str
    sha256: str
    prefix: str
    scopes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    ip_allow: tuple[str, ...] = ()
    rpm: int = 0
    budget_month_nano: int = 0
    expires_at: float | None = None
    id: int | None = None  # chosen before, by `beyond`; None: the next


def create(connection: Connection, slug: str, new: NewKey, *, actor: str, action: str = "key.create") -> KeyRecord:
    """Keep the key's digest; the tenant's generation moves on. Raises `conflict` beyond the limit."""
    alive = select(func.count()).select_from(keys).where(keys.c.tenant == slug, keys.c.revoked_at.is_(None))
    if connection.execute(alive).scalar_one() >= MAX_KEYS:
        raise CloudError("conflict", f"a tenant has at most {MAX_KEYS} keys; revoke one first")
    number = _bump(connection, slug)
    row = {
        "tenant": slug,
        "name": new.name,
        "kind": new.kind,
        "sha256": new.sha256,
        "prefix": new.prefix,
        "scopes": list(new.scopes),
        "models": list(new.models),
        "ip_allow": list(new.ip_allow),
        "rpm": new.rpm,
        "budget_month_nano": new.budget_month_nano,
        "created_at": time.time(),
        "expires_at": new.expires_at,
        "generation": number,
    } | ({"id": new.id} if new.id is not None else {})
    key_id = connection.execute(insert(keys).values(**row).returning(keys.c.id)).scalar_one()
    detail = {"key": key_id, "kind": new.kind, "name": new.name}
    _record(connection, slug, actor, action, f"key {key_id} ({new.kind}) made", detail)
    return get(connection, slug, key_id)


def beyond(connection: Connection, known: int) -> int:
    """A number beyond `known` and those of all keys, with room for keys that are made before it is used."""
    highest = connection.execute(select(func.max(keys.c.id))).scalar_one() or 0
    return int(max(highest, known)) + IDS_APART


def taken(connection: Connection, digests: Sequence[str]) -> list[str]:
    """The display forms of those digests that are kept already, of whichever tenant, revoked ones included."""
    query = select(keys.c.prefix).where(keys.c.sha256.in_(digests)).order_by(keys.c.id)
    return list(connection.execute(query).scalars()) if digests else []


def get(connection: Connection, slug: str, key_id: int) -> KeyRecord:
    """The key. Raises `not_found`."""
    row = connection.execute(select(keys).where(keys.c.tenant == slug, keys.c.id == key_id)).first()
    if row is None:
        raise CloudError("not_found", f"tenant `{slug}` has no key {key_id}")
    return key_from(row)


def page(connection: Connection, slug: str, *, limit: int, offset: int) -> tuple[list[KeyRecord], int]:
    """Keys newest first, revoked ones included, and their number."""
    query = select(keys).where(keys.c.tenant == slug).order_by(keys.c.id.desc()).limit(limit).offset(offset)
    total = connection.execute(select(func.count()).select_from(keys).where(keys.c.tenant == slug)).scalar_one()
    return [key_from(row) for row in connection.execute(query)], int(total)


def change(connection: Connection, key: KeyRecord, values: Mapping[str, Any], *, actor: str) -> KeyRecord:
    """Change a key's name or limits. Raises `conflict` for a revoked one."""
    if key.revoked_at is not None:
        raise CloudError("conflict", f"key {key.id} is revoked and cannot be changed; make a new one")
    number = _bump(connection, key.tenant)
    connection.execute(update(keys).where(keys.c.id == key.id).values(**values, generation=number))
    detail = {"key": key.id, "fields": sorted(values)}
    _record(connection, key.tenant, actor, "key.change", f"key {key.id} changed", detail)
    return get(connection, key.tenant, key.id)


def revoke(connection: Connection, key: KeyRecord, *, actor: str) -> KeyRecord:
    """End a key now; again is no error and writes nothing."""
    if key.revoked_at is not None:
        return key
    values = {"revoked_at": time.time(), "generation": _bump(connection, key.tenant)}
    connection.execute(update(keys).where(keys.c.id == key.id).values(**values))
    _record(connection, key.tenant, actor, "key.revoke", f"key {key.id} revoked", {"key": key.id})
    return get(connection, key.tenant, key.id)


def rotate(
    connection: Connection, key: KeyRecord, sha256: str, prefix: str, overlap_s: int, *, actor: str
) -> KeyRecord:
    """A successor with the same limits, which it answers; the old key ends after the overlap, or when it was to."""
    now = time.time()
    if not key.valid_at(now):
        raise CloudError("conflict", f"key {key.id} is revoked or expired; make a new one instead of rotating it")
    ends = now + overlap_s if key.expires_at is None else min(key.expires_at, now + overlap_s)
    change(connection, key, {"expires_at": ends}, actor=actor)
    successor = NewKey(
        name=key.name,
        kind=key.kind,
        sha256=sha256,
        prefix=prefix,
        scopes=key.scopes,
        models=key.models,
        ip_allow=key.ip_allow,
        rpm=key.rpm,
        budget_month_nano=key.budget_month_nano,
        expires_at=key.expires_at,
    )
    return create(connection, key.tenant, successor, actor=actor, action="key.rotate")


def _bump(connection: Connection, slug: str) -> int:
    """The next number of the tenant's generation."""
    raised = update(tenants).where(tenants.c.slug == slug).values(number=tenants.c.number + 1)
    return int(connection.execute(raised.returning(tenants.c.number)).scalar_one())


def _record(
    connection: Connection, slug: str, actor: str, action: str, message: str, detail: Mapping[str, Any]
) -> None:
    record(
        connection,
        actor=actor,
        action=action,
        tenant=slug,
        message=message,
        detail=detail,
        event_type="key_event",
    )
