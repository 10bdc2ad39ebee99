"""The master key, as the operator exchanges it."""

from __future__ import annotations

from typing import Any

from control_plane.api.auth import Operator
from control_plane.api.plane import CurrentPlane
from control_plane.api.routing import make_router
from control_plane.errors import CloudError
from control_plane.store import sealed

router = make_router("operator")


@router.post("/api/master-key/rotate")
async def rotate(caller: Operator, plane: CurrentPlane, dry_run: bool = False) -> dict[str, Any]:
    """Seal every tenant's secrets under a new master key; instances go on as they are."""
    try:
        return await sealed.rotate(plane.database, plane.box, actor=caller.actor, dry_run=dry_run)
    except OSError as problem:
        raise CloudError("conflict", f"the new key cannot be written: {problem.strerror}") from None
