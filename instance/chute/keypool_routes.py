"""`/api/proxy/modules/keypool/keys`: the pool's keys, their state, and giving one back its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends

from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.system.audit import changed
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.chute.modules.other.keypool import KeyPool

Reader = Annotated[Principal, Depends(require("proxy:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]


def router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    core = chute.core
    routes = APIRouter(prefix="/api/proxy/modules/keypool/keys", tags=["proxy"])

    def pool() -> KeyPool:
        found: KeyPool | None = core.services.get("keypool")
        if found is None:
            raise StockyardError("conflict", "The module keypool is switched off.")
        return found

    @routes.get("")
    async def pooled_keys(_: Reader) -> dict[str, Any]:
        """Every key of the pool with its state; of the key itself only the last four characters."""
        rows = pool().rows()
        return {"keys": rows, "count": len(rows), "total": len(rows), "has_more": False, "next_cursor": None}

    @routes.post("/{provider}/{name}/reset")
    async def reset_pooled_key(provider: str, name: str, principal: Writer) -> dict[str, Any]:
        """Use a key again that was set aside."""
        pool().reset(provider, name)
        event = changed(principal, f"key:{provider}/{name}", "reset", (), event_type="config_change")
        await core.writer.write(lambda connection: None, [event])
        return {"status": "reset", "provider": provider, "name": name}

    return routes
