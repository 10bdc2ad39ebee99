"""`/api/proxy/modules/ipfence/bans`: addresses that are shut out for a while, and letting one in again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends

from instance.chute.modules.other.ipfence import IPFence
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.system.audit import changed
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("proxy:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]


def fence_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    routes = APIRouter(prefix="/api/proxy/modules/ipfence/bans", tags=["proxy"])

    def fence() -> IPFence:
        running = chute.registry.slot("ipfence").running
        if not isinstance(running, IPFence):
            raise StockyardError("conflict", "The module ipfence is switched off.")
        return running

    @routes.get("")
    async def banned_addresses(_: Reader) -> dict[str, Any]:
        """Every banned address with the seconds for which it stays so."""
        rows = [{"address": address, "left_s": left} for address, left in fence().bans().items()]
        return {"bans": rows, "count": len(rows), "total": len(rows), "has_more": False, "next_cursor": None}

    @routes.delete("/{address}")
    async def lift_ban(address: str, principal: Writer) -> dict[str, Any]:
        """Let an address in again."""
        if not fence().unban(address):
            raise StockyardError("not_found", f"The address {address!r} is not banned.")
        event = changed(principal, f"address:{address}", "unban", (), event_type="config_change")
        await chute.core.writer.write(lambda connection: None, [event])
        return {"status": "lifted", "address": address}

    return routes
