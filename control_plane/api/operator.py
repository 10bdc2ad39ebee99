"""What only the operator sees: status, nodes, the reconciler, the ledger, a check-up."""

from __future__ import annotations

import platform
import time
from typing import Annotated, Any

from fastapi import Query

from control_plane import ledger
from control_plane.api.auth import Operator
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import Cursor, Offset, make_router
from control_plane.api.shapes import list_shape
from control_plane.backups.control_copy import proof
from control_plane.checkups import examine_plane
from control_plane.doctor.examine import report
from control_plane.domain.state import rfc3339
from control_plane.errors import CloudError
from control_plane.reconcile.ports import Unavailable
from control_plane.store import epochs, tenants
from control_plane.version import VERSION

router = make_router("operator")


@router.get("/api/status")
async def status(caller: Operator, plane: CurrentPlane) -> dict[str, Any]:
    """Version, tenants by status, how far the loop is, how old the oldest unverified backup is."""
    counts = await plane.database.read(tenants.count_by_status)
    return {
        "version": VERSION,
        "incarnation": plane.incarnation,
        "runtime": plane.config.runtime,
        "uptime_s": round(time.time() - plane.started_at, 3),
        "tenants": counts,
        "reconciler": _reconciler(plane),
        "oldest_unverified_backup": rfc3339(await plane.database.read(epochs.oldest_unverified)),
        "replicas_behind": _behind(plane),
        "control_backup": await _control_backup(plane),
        "nodes": 1,
    }


@router.get("/api/nodes")
async def nodes(caller: Operator, plane: CurrentPlane) -> dict[str, Any]:
    """The machines; this version knows its own."""
    counts = await plane.database.read(tenants.count_by_status)
    node = {"id": platform.node(), "status": "ready", "runtime": plane.config.runtime, "tenants": sum(counts.values())}
    return list_shape("nodes", [node], 1, 0)


@router.post("/api/nodes/{node_id}/drain", status_code=202)
async def drain(node_id: str, caller: Operator) -> dict[str, Any]:
    """Move a machine's tenants elsewhere; needs more than one machine."""
    if node_id != platform.node():
        raise CloudError("not_found", f"there is no node `{node_id}`")
    raise CloudError("not_supported", "there is no other node to move tenants to")


@router.get("/api/reconciler")
async def reconciler(caller: Operator, plane: CurrentPlane) -> dict[str, Any]:
    """Queues and back-offs of the loop."""
    return _reconciler(plane)


@router.post("/api/reconciler/pause")
async def pause(caller: Operator, plane: CurrentPlane) -> dict[str, Any]:
    """Let the loop do nothing more until it is resumed or the plane restarts."""
    _running(plane).pause()
    await plane.database.write(lambda c: _record(c, caller.actor, "reconciler.pause"))
    return _reconciler(plane)


@router.post("/api/reconciler/resume")
async def resume(caller: Operator, plane: CurrentPlane) -> dict[str, Any]:
    """Undo a pause."""
    _running(plane).resume()
    await plane.database.write(lambda c: _record(c, caller.actor, "reconciler.resume"))
    return _reconciler(plane)


@router.post("/api/backup")
async def backup(caller: Operator, plane: CurrentPlane) -> dict[str, Any]:
    """Confirm that all of the plane's own database is at its replica, and every revocation beside it."""
    if plane.backups is None or not plane.config.replicated:
        raise CloudError("conflict", "the plane's own database is not copied by this process")
    noted = await plane.key_ends.wait(plane.database)
    try:
        txid = await plane.backups.sync_control()
    except Unavailable as problem:
        raise CloudError("backup_unavailable", f"the copy could not be confirmed: {problem}") from None
    return {"status": "confirmed", "incarnation": plane.incarnation, "txid": txid, "revocations_beside": noted}


@router.get("/api/ledger")
async def list_ledger(
    caller: Operator,
    plane: CurrentPlane,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Offset = 0,
    cursor: Cursor = None,
    resource: Annotated[str | None, Query(max_length=200)] = None,
) -> dict[str, Any]:
    """The control plane's ledger, newest first."""
    begin = offset if cursor is None else cursor
    rows, total = await plane.database.read(
        lambda connection: ledger.page(connection, limit=limit, offset=begin, resource=resource)
    )
    return list_shape("events", rows, total, begin)


@router.get("/api/ledger/verify")
async def verify_ledger(caller: Operator, plane: CurrentPlane) -> dict[str, Any]:
    """Walk the hash chain from its beginning; 200 also when it is broken."""
    return await plane.database.read(ledger.verify)


@router.get("/api/doctor")
async def doctor(caller: Operator, plane: CurrentPlane) -> dict[str, Any]:
    """What could be wrong here, checked now; each finding says why it matters and how to mend it."""
    return report(await examine_plane(plane), plane_runs=True)


def _behind(plane: Plane) -> list[str]:
    """Tenants whose replica is further behind than the operator allows."""
    lag = plane.backups.lag() if plane.backups is not None else {}
    return sorted(slug for slug, seconds in lag.items() if seconds >= plane.config.replica_lag_alarm_s)


async def _control_backup(plane: Plane) -> dict[str, Any]:
    """How safe the plane's own database is; `lag_s` null when this process does not have it copied."""
    own = await plane.database.read(proof)
    lag = plane.backups.control_lag() if plane.backups is not None else None
    return {
        "lag_s": round(lag, 3) if lag is not None else None,
        "verified_at": rfc3339(own.verified_at),
        "broken_at": rfc3339(own.broken_at),
    }


def _reconciler(plane: Plane) -> dict[str, Any]:
    if plane.reconciler is None:
        return {"running": False}
    return {"running": True} | plane.reconciler.status()


def _running(plane: Plane) -> Any:
    if plane.reconciler is None:
        raise CloudError("conflict", "the reconciler does not run in this process")
    return plane.reconciler


def _record(connection: Any, actor: str, action: str) -> None:
    ledger.append(connection, event_type="admin_action", actor=actor, resource="reconciler", action=action, detail={})
