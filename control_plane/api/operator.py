"""What only the operator sees: status, nodes, the reconciler, the ledger, a check-up."""

from __future__ import annotations

import os
import platform
import shutil
import time
from typing import Annotated, Any

from fastapi import Query

from control_plane import ledger
from control_plane.api.auth import Operator
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import Cursor, Offset, make_router
from control_plane.api.shapes import list_shape
from control_plane.domain.state import rfc3339
from control_plane.errors import CloudError
from control_plane.reconcile.ports import Unavailable
from control_plane.store import epochs, tenants
from control_plane.version import VERSION

router = make_router("operator")
DISK_FREE_MIN_BYTES = 1 << 30


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
    """What could be wrong here, checked; each check says how to mend it."""
    verdict = await plane.database.read(ledger.verify)
    free = shutil.disk_usage(plane.config.data).free
    loose = [
        path.name
        for path in (plane.config.operator_key_file, plane.config.master_key_file, plane.config.snapshot_dir / ".index")
        if path.exists() and path.stat().st_mode & 0o077
    ]
    counts = await plane.database.read(tenants.count_by_status)
    loop = _reconciler(plane)
    checks = [
        _check("ledger", verdict["valid"], f"{verdict['events_checked']} entries hold", "the chain is broken: restore"),
        _check("disk", free >= DISK_FREE_MIN_BYTES, f"{free} bytes free", f"only {free} bytes free: make room"),
        _check("data", os.access(plane.config.data, os.W_OK), "writable", "the data folder is not writable"),
        _check("secrets", not loose, "0600", f"readable by others: {', '.join(loose)}: chmod 600"),
        _check("reconciler", bool(loop["running"]), "running", "not running: restart `stockyard-cloud serve`"),
        _check("litestream", plane.config.litestream_socket.exists(), "up", "no control socket: run under `up`"),
        _check("activator", plane.config.activator_socket.exists(), "up", "no socket: run `stockyard-cloud activator`"),
        _check("tenants", not counts.get("failed"), "none failed", f"{counts.get('failed')} failed: `tenants list`"),
    ]
    return {"ok": all(check["ok"] for check in checks), "checks": checks}


def _check(name: str, ok: bool, good: str, bad: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "message": good if ok else bad}


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
