"""`/api/observe/drift`: the series of answers, what drifted, and new baselines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from instance.chute.modules.observe import drift_store
from instance.chute.modules.observe.driftwatch import SERVICE, DriftWatch
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.core.timestamps import rfc3339, rfc3339_or_none
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute

Reader = Annotated[Principal, Depends(require("observe:read"))]
Writer = Annotated[Principal, Depends(require("observe:write"))]


class NewBaseline(BaseModel):
    """What `POST /api/observe/drift/baseline` takes."""

    model_config = ConfigDict(extra="forbid")

    series: str = Field(min_length=1, max_length=1000, description="Name of the series.")
    take: Literal["latest", "next"] = Field(default="next", description="The latest answers, or those to come.")


def drift_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/api/observe/drift", tags=["observe"])
    core = chute.core

    @router.get("", summary="Series of answers, and what drifted")
    async def drift(
        _: Reader, limit: Annotated[int, Query(ge=1, le=500, description="Events in the answer.")] = 50
    ) -> dict[str, Any]:
        """Every series with how far its baseline is, and what drifted, the latest first."""
        module: DriftWatch | None = core.services.get(SERVICE)
        rows = await core.database.read(partial(drift_store.events, limit=limit))
        return {
            "series": [
                {
                    "series": name,
                    "baseline": len(series.baseline),
                    "baseline_n": series.baseline_n,
                    "window": len(series.window),
                    "drifted": sorted(series.open),
                }
                for name, series in sorted((module.table.series if module is not None else {}).items())
            ],
            "events": [_shown(row) for row in rows],
        }

    @router.post("/baseline", summary="Give a series a new baseline")
    async def rebase(_: Writer, body: NewBaseline) -> dict[str, Any]:
        """What drifted so far is how it should be: the series is compared with its latest answers, or with those to come."""
        module: DriftWatch | None = core.services.get(SERVICE)
        if module is None:
            raise StockyardError("conflict", "The module driftwatch is off.")
        await module.rebase(body.series, take_window=body.take == "latest")
        return {"status": "updated", "series": body.series}

    return router


def _shown(row: tuple[Any, ...]) -> dict[str, Any]:
    names = ("id", "series", "metric", "baseline", "now", "q", "effect")
    return {
        **dict(zip(names, row, strict=False)),
        "detected_at": rfc3339(row[7]),
        "ended_at": rfc3339_or_none(row[8]),
    }
