"""`/api/proxy/aliases`: own names for models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path

from instance.chute.alias_admin import AliasAdmin
from instance.core.principals import Principal
from instance.core.settings import AliasSettings
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("proxy:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]
Name = Annotated[
    str, Path(min_length=1, max_length=256, pattern="^[!-~]+$", description="The own name; may be a glob.")
]


def alias_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    admin = AliasAdmin(chute.core, chute.aliases)
    router = APIRouter(prefix="/api/proxy", tags=["proxy"])

    @router.get("/aliases")
    async def list_aliases(_: Reader) -> dict[str, Any]:
        """Every alias, with where it comes from."""
        rows = admin.rows()
        return {"aliases": rows, "count": len(rows), "total": len(rows), "has_more": False, "next_cursor": None}

    @router.put("/aliases/{name:path}")
    async def put_alias(name: Name, principal: Writer, body: AliasSettings) -> dict[str, Any]:
        """Set an alias; it acts from the next call on."""
        row, new = await admin.put(name, body.model_dump(exclude_unset=True), principal)
        return {"status": "created" if new else "updated", **row}

    @router.delete("/aliases/{name:path}")
    async def delete_alias(name: Name, principal: Writer) -> dict[str, Any]:
        """Remove an alias."""
        await admin.delete(name, principal)
        return {"status": "deleted", "alias": name}

    return router
