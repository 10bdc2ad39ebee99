"""The master key, as the operator exchanges it and as `doctor` sees it."""

from __future__ import annotations

from typing import Any

from control_plane.api.auth import Operator
from control_plane.api.plane import CurrentPlane, Plane
from control_plane.api.routing import make_router
from control_plane.errors import CloudError
from control_plane.master_key import old_files
from control_plane.store import sealed

router = make_router("operator")


@router.post("/api/master-key/rotate")
async def rotate(caller: Operator, plane: CurrentPlane, dry_run: bool = False) -> dict[str, Any]:
    """Seal every tenant's secrets under a new master key; instances go on as they are."""
    try:
        return await sealed.rotate(plane.database, plane.box, actor=caller.actor, dry_run=dry_run)
    except OSError as problem:
        raise CloudError("conflict", f"the new key cannot be written: {problem.strerror}") from None


async def check(plane: Plane) -> dict[str, Any]:
    """Whether every tenant's secrets open, and under which key: one check of `doctor`."""
    key = plane.box
    found = await plane.database.read(lambda connection: sealed.look(connection, key))
    message = f"key {key.id} opens the secrets of {len(found.current)} tenants"
    old = [path.name for path in old_files(key.file)] if key.file is not None else []
    if old:
        message += f"; {', '.join(old)} open backups of control.db from before a rotation"
    if found.earlier or key.is_interrupted():
        message = f"the secrets of {len(found.earlier)} tenants are under an earlier key: `master-key rotate`"
    if found.unopenable:
        message = f"no key known here opens the secrets of {', '.join(found.unopenable[:5])}: put their key back"
    ok = not (found.earlier or found.unopenable or key.is_interrupted())
    return {"name": "master key", "ok": ok, "message": message}
