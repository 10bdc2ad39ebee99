"""`/api/proxy/routes`: which targets serve a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, status
from pydantic import BaseModel, ConfigDict, Field

from instance.chute.route_admin import RouteAdmin
from instance.chute.routes import ASKED_MODEL
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.settings import RouteTargetSettings
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("proxy:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]
Label = Annotated[str, Field(min_length=3, max_length=300)]


class RouteChange(BaseModel):
    """What can be set of a route; what is left away stays as it is."""

    model_config = ConfigDict(extra="forbid")

    pattern: str = Field(default="*", min_length=1, max_length=256, description="Glob of the asked model.")
    targets: list[RouteTargetSettings] = Field(
        default=[], max_length=100, description="Where such calls go: provider/model, weight, region."
    )
    provider: str | None = Field(default=None, max_length=63, description="In place of `targets`: one provider.")
    model: str | None = Field(default=None, max_length=256, description="With `provider`; the asked model when absent.")
    fallback: list[Label] = Field(default=[], max_length=20, description="Targets to try after those.")
    sticky: bool = Field(default=False, description="A session stays at its target.")
    hedge_after_ms: int = Field(
        default=0, ge=0, le=600_000, description="Ask a second target too after that long without an answer; 0: never."
    )
    path: str = Field(default="*", min_length=1, max_length=200, description="Glob of the request's path.")
    priority: int = Field(default=100, ge=0, le=1_000_000, description="The lowest that fits is taken.")
    enabled: bool = Field(default=True, description="Whether it is used.")

    def fields(self) -> dict[str, Any]:
        """What was given, `provider` and `model` as a target. Raises `invalid_value`."""
        given = self.model_dump(exclude_unset=True, exclude={"provider", "model", "targets"})
        if self.targets and self.provider is not None:
            raise StockyardError("invalid_value", "Give `targets` or `provider`, not both.", param="provider")
        if self.model is not None and self.provider is None:
            raise StockyardError("missing_field", "`model` goes with `provider`.", param="provider")
        if self.provider is not None:
            label = f"{self.provider}/{self.model or ASKED_MODEL}"
            given["targets"] = [{"target": label, "weight": 1, "region": ""}]
        elif "targets" in self.model_fields_set:
            if not self.targets:
                raise StockyardError("invalid_value", "A route needs at least one target.", param="targets")
            given["targets"] = [target.model_dump() for target in self.targets]
        return given


class NewRoute(RouteChange):
    """What `POST /api/proxy/routes` takes."""

    pattern: str = Field(min_length=1, max_length=256, description="Glob of the asked model.")


def route_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    admin = RouteAdmin(chute.core, chute.routes, chute.providers)
    router = APIRouter(prefix="/api/proxy", tags=["proxy"])

    def warnings(row: dict[str, Any]) -> list[str]:
        """Which modules the route needs that are off."""
        needs = {
            "weightedrouter": len({target["weight"] for target in row["targets"]}) > 1,
            "fallbackrouter": bool(row["fallback"]) or row["hedge_after_ms"] > 0,
            "stickysession": row["sticky"],
        }
        slots = chute.registry.slots
        return [
            f"the module {name} is off; switch it on for this to act"
            for name, needed in needs.items()
            if needed and name in slots and not slots[name].enabled
        ]

    @router.get("/routes")
    async def list_routes(_: Reader) -> dict[str, Any]:
        """Every route, the first that applies first."""
        rows = admin.rows()
        return {"routes": rows, "count": len(rows), "total": len(rows), "has_more": False, "next_cursor": None}

    @router.post("/routes", status_code=status.HTTP_201_CREATED)
    async def create_route(principal: Writer, body: NewRoute) -> dict[str, Any]:
        """Add a route; it acts from the next call on."""
        fields = body.fields()
        if "targets" not in fields:
            raise StockyardError("missing_field", "A route needs `targets`, or a `provider`.", param="targets")
        row = await admin.create(fields, principal)
        return {"status": "created", **row, "warnings": warnings(row)}

    @router.get("/routes/{route_id}")
    async def one_route(route_id: int, _: Reader) -> dict[str, Any]:
        """One route."""
        return admin.get(route_id)

    @router.put("/routes/{route_id}")
    async def change_route(route_id: int, principal: Writer, body: RouteChange) -> dict[str, Any]:
        """Change a route; it acts from the next call on."""
        row = await admin.update(route_id, body.fields(), principal)
        return {"status": "updated", **row, "warnings": warnings(row)}

    @router.delete("/routes/{route_id}")
    async def delete_route(route_id: int, principal: Writer) -> dict[str, Any]:
        """Remove a route."""
        await admin.delete(route_id, principal)
        return {"status": "deleted", "id": route_id}

    return router
