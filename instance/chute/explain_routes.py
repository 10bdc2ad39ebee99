"""`/api/proxy/explain`: what would happen to a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from instance.chute.explain import explain
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("proxy:read"))]


class Asked(BaseModel):
    """The call to explain."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(default="/v1/chat/completions", max_length=200, description="The path of /v1.")
    body: dict[str, Any] = Field(description="The request's body.")
    headers: dict[str, str] = Field(default={}, max_length=100, description="Headers of the request, without its key.")
    key_id: int | str | None = Field(default=None, description="The key that would call; the asking one when absent.")


def explain_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/api/proxy", tags=["proxy"])

    def caller(principal: Principal, key_id: int | str | None) -> Principal:
        if key_id is None:
            return principal
        for other in chute.core.keys.principals():
            if str(other.key_id) == str(key_id) and (not principal.team or other.team == principal.team):
                return other
        raise StockyardError("not_found", f"There is no key {key_id}.", param="key_id")

    @router.post("/explain")
    async def explain_call(principal: Reader, body: Asked) -> dict[str, Any]:
        """Where a request would go, what the modules decide about it, and what it would cost; no provider is called."""
        return await explain(chute, caller(principal, body.key_id), body.path, body.body, body.headers)

    return router
