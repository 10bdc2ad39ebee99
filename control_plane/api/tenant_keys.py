"""Keys of a tenant: made, changed, rotated and revoked here and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import Connection

from control_plane.api.auth import Caller, KeyReader, KeyWriter
from control_plane.api.bodies import KeyChange, KeyCreate, KeyLimits, Rotate, epoch_seconds
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import Cursor, Limit, Offset, make_router
from control_plane.api.shapes import generation_shape, key_shape, list_shape
from control_plane.domain.state import NANO_PER_USD
from control_plane.domain.tenants import Desired, Generation, KeyRecord, Status
from control_plane.errors import CloudError
from control_plane.keys import new_key
from control_plane.store import keys, tenants
from control_plane.store.keys import NewKey

router = make_router("keys")
WAIT_S = 10.0  # how long `?wait=true` waits for every place that checks keys
Wait = Annotated[bool, Query(description="answer when every place that checks keys has it")]
Work = Callable[[Connection], KeyRecord]


@router.get("/api/tenants/{slug}/keys")
async def list_keys(
    slug: str,
    caller: KeyReader,
    plane: CurrentPlane,
    limit: Limit = 50,
    offset: Offset = 0,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Keys newest first, revoked ones included, without their texts."""
    begin = offset if cursor is None else cursor

    def read(connection: Connection) -> tuple[list[KeyRecord], int]:
        tenants.get(connection, slug, account=caller.account)
        return keys.page(connection, slug, limit=limit, offset=begin)

    rows, total = await plane.database.read(read)
    return list_shape("keys", [key_shape(row) for row in rows], total, begin)


@router.post("/api/tenants/{slug}/keys", status_code=201)
async def create_key(
    slug: str, body: KeyCreate, caller: KeyWriter, plane: CurrentPlane, wait: Wait = False
) -> dict[str, Any]:
    """Make a key; its text is in this answer and in no other."""
    text = new_key(body.kind)
    new = NewKey(
        name=body.name,
        kind=body.kind,
        sha256=text.sha256,
        prefix=text.prefix,
        scopes=tuple(body.scopes),
        **_limits(body, KeyLimits.model_fields.keys()),
    )
    answer = await _write(plane, slug, caller, wait, lambda c: keys.create(c, slug, new, actor=caller.actor))
    return {"status": "created"} | answer | {"key": text.text}


@router.get("/api/tenants/{slug}/keys/{key_id}")
async def show_key(slug: str, key_id: int, caller: KeyReader, plane: CurrentPlane) -> dict[str, Any]:
    """One key."""
    return key_shape(await plane.database.read(lambda connection: _own(connection, slug, key_id, caller)))


@router.put("/api/tenants/{slug}/keys/{key_id}")
async def change_key(
    slug: str, key_id: int, body: KeyChange, caller: KeyWriter, plane: CurrentPlane, wait: Wait = False
) -> dict[str, Any]:
    """Change name, scopes or limits; what is left out stays, `null` removes a limit."""
    values: dict[str, Any] = _limits(body, body.model_fields_set)
    if body.name is not None:
        values["name"] = body.name

    def work(connection: Connection) -> KeyRecord:
        key = _own(connection, slug, key_id, caller)
        if body.scopes is not None:
            if key.kind != "app":
                raise CloudError("invalid_value", "scopes are chosen for kind `app` only", param="scopes")
            values["scopes"] = list(body.scopes)
        return keys.change(connection, key, values, actor=caller.actor) if values else key

    return await _write(plane, slug, caller, wait, work)


@router.delete("/api/tenants/{slug}/keys/{key_id}")
async def revoke_key(
    slug: str, key_id: int, caller: KeyWriter, plane: CurrentPlane, wait: Wait = False
) -> dict[str, Any]:
    """Revoke a key: it stops working within a second everywhere that can be reached."""
    answer = await _write(
        plane, slug, caller, wait, lambda c: keys.revoke(c, _own(c, slug, key_id, caller), actor=caller.actor)
    )
    await plane.key_ends.wait(plane.database)
    return {"status": "revoked"} | answer


@router.post("/api/tenants/{slug}/keys/{key_id}/rotate", status_code=201)
async def rotate_key(
    slug: str,
    key_id: int,
    caller: KeyWriter,
    plane: CurrentPlane,
    body: Rotate | None = None,
    wait: Wait = False,
) -> dict[str, Any]:
    """A successor with the same limits; the old key works for `overlap_s` more."""
    overlap_s = (body or Rotate()).overlap_s
    kind = (await plane.database.read(lambda connection: _own(connection, slug, key_id, caller))).kind
    text = new_key(kind)

    def work(connection: Connection) -> KeyRecord:
        key = _own(connection, slug, key_id, caller)
        return keys.rotate(connection, key, text.sha256, text.prefix, overlap_s, actor=caller.actor)

    answer = await _write(plane, slug, caller, wait, work)
    return {"status": "created"} | answer | {"key": text.text, "rotated_from": key_id}


def _own(connection: Connection, slug: str, key_id: int, caller: Caller) -> KeyRecord:
    tenants.get(connection, slug, account=caller.account)
    return keys.get(connection, slug, key_id)


def _limits(body: KeyLimits, given: Any) -> dict[str, Any]:
    """The columns of the limits among `given` fields; 0 or None where a limit is absent."""
    values: dict[str, Any] = {}
    if "models" in given:
        values["models"] = list(body.models)
    if "ip_allow" in given:
        values["ip_allow"] = list(body.ip_allow)
    if "rpm" in given:
        values["rpm"] = body.rpm or 0
    if "budget_usd_month" in given:
        values["budget_month_nano"] = round((body.budget_usd_month or 0) * NANO_PER_USD)
    if "expires_at" in given:
        values["expires_at"] = epoch_seconds(body.expires_at) if body.expires_at else None
    return values


async def _write(plane: Plane, slug: str, caller: Caller, wait: bool, work: Work) -> dict[str, Any]:
    """Carry out a change of a key of the caller's tenant; answers the key, the generation, and whether all have it."""

    def checked(connection: Connection) -> tuple[KeyRecord, Generation]:
        tenant = tenants.get(connection, slug, account=caller.account)
        if tenant.desired is Desired.DELETED:
            raise CloudError("conflict", f"tenant `{slug}` is being deleted; `resume` takes that back")
        key = work(connection)
        return key, tenants.get(connection, slug, account=None).generation

    key, generation = await plane.database.write(checked, asks=slug)
    effective = await _wait_effective(plane, slug, generation) if wait else await is_effective(plane, slug, generation)
    return key_shape(key) | {"effective": effective, "generation": generation_shape(generation)}


async def _wait_effective(plane: Plane, slug: str, generation: Generation) -> bool:
    deadline = time.monotonic() + WAIT_S
    while True:
        seen, written = plane.database.changed.count, plane.snapshot.rewritten.count
        if await is_effective(plane, slug, generation):
            return True
        left = deadline - time.monotonic()
        if left <= 0 or plane.ending:
            return False
        if plane.snapshot.has(slug, generation):
            await plane.database.changed.wait(seen, left)
        else:
            await plane.snapshot.rewritten.wait(written, left)


async def is_effective(plane: Plane, slug: str, generation: Generation) -> bool:
    """True when the activator's snapshot and the instance, if calls can reach it, have this generation.

    An instance that is not routed to is given the newest state before it is.
    """
    if not plane.snapshot.has(slug, generation):
        return False
    tenant = await plane.store.tenant(slug)
    if tenant is None or tenant.applied >= generation:
        return True
    return tenant.status is not Status.RUNNING and not plane.config.edge_socket(slug).exists()
