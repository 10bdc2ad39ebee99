"""`/api/billing/budgets`: the one table of spending limits."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from instance.billing.budget import SCOPE_FIELDS, Action, Budget
from instance.billing.periods import Period, zone
from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.core.money import nano_to_usd, usd_to_nano
from instance.core.principals import Principal
from instance.core.timestamps import rfc3339
from instance.core.writer import LedgerEvent
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.billing.app import Billing
    from instance.core.core import Core

Reader = Annotated[Principal, Depends(require("billing:read"))]
Writer = Annotated[Principal, Depends(require("billing:write"))]

Name = Annotated[str, Field(min_length=1, max_length=200)]
Label = Annotated[str, Field(min_length=1, max_length=256)]
Usd = Annotated[Decimal, Field(ge=0, le=1_000_000_000)]
Percent = Annotated[int, Field(ge=1, le=1000)]


class Scope(BaseModel):
    """What a budget is narrowed to; nothing: everything."""

    model_config = ConfigDict(extra="forbid")

    team: Label | None = None
    project: Label | None = None
    user: Label | None = None
    key: Label | int | None = Field(default=None, description="Id of a key.")
    tag: Label | None = Field(default=None, description="`name`, or `name=value`.")
    model: Label | None = Field(default=None, description="Glob of the asked model.")

    def fields(self) -> dict[str, str]:
        return {name: str(value) for name in SCOPE_FIELDS if (value := getattr(self, name)) is not None}


class NewBudget(BaseModel):
    """What `POST` takes."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    limit_usd: Usd
    period: Period
    scope: Scope = Scope()
    rolling: bool = Field(default=False, description="The last minute, hour, …, instead of the calendar's.")
    timezone: str = Field(default="UTC", max_length=64, description="Time zone of calendar periods.")
    action: Action = Field(default="block", description="What happens to a call that does not fit.")
    warn_at_pct: list[Percent] = Field(default=[50, 80, 100], max_length=10)
    enabled: bool = True


class BudgetChange(BaseModel):
    """What `PUT` takes; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    limit_usd: Usd | None = None
    period: Period | None = None
    scope: Scope | None = None
    rolling: bool | None = None
    timezone: str | None = Field(default=None, max_length=64)
    action: Action | None = None
    warn_at_pct: list[Percent] | None = Field(default=None, max_length=10)
    enabled: bool | None = None


def _fields(body: NewBudget | BudgetChange) -> dict[str, Any]:
    """The set fields as `Budget` names them; raises `invalid_value` for a bad time zone."""
    given = {name: getattr(body, name) for name in body.model_fields_set if getattr(body, name) is not None}
    if "timezone" in given:
        try:
            zone(given["timezone"])
        except ValueError as error:
            raise StockyardError("invalid_value", str(error), param="timezone") from None
    if "limit_usd" in given:
        given["limit_nano"] = usd_to_nano(given.pop("limit_usd"))
    if "scope" in given:
        given["scope"] = given["scope"].fields()
    if "warn_at_pct" in given:
        given["warn_at_pct"] = tuple(sorted(set(given["warn_at_pct"])))
    return given


def budget_router(billing: Billing, core: Core) -> APIRouter:
    """The routes of this page."""
    router = APIRouter(prefix="/api/billing/budgets", tags=["billing"])

    def one(budget_id: str) -> Budget:
        budget = billing.budgets.get(budget_id)
        if budget is None:
            raise StockyardError("not_found", f"There is no budget {budget_id!r}.")
        return budget

    def event(principal: Principal, action: str, budget_id: str, fields: dict[str, Any]) -> LedgerEvent:
        return LedgerEvent(
            "billing_event",
            f"key:{principal.key_id}",
            f"budget:{budget_id}",
            action,
            {"fields": sorted(fields)},
        )

    @router.get("")
    async def list_budgets(
        _: Reader,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> dict[str, Any]:
        """Every budget with what is spent of it, newest first."""
        budgets = list(billing.budgets.values())
        rows = [shown(billing, budget, core.clock.wall_ns()) for budget in budgets[offset : offset + limit]]
        return {
            "budgets": rows,
            "count": len(rows),
            "total": len(budgets),
            "has_more": offset + len(rows) < len(budgets),
            "next_cursor": None,
        }

    @router.post("", status_code=201)
    async def create_budget(principal: Writer, body: NewBudget) -> dict[str, Any]:
        """Make a budget; what its subjects spent in the current period counts at once."""
        now_ns = core.clock.wall_ns()
        fields = _fields(body)
        budget = Budget(id=new_id("bud_"), created_at_ns=now_ns, updated_at_ns=now_ns, **fields)
        await billing.save(budget, event(principal, "create", budget.id, fields))
        return {"status": "created", **shown(billing, budget, now_ns)}

    @router.get("/{budget_id}")
    async def read_budget(budget_id: str, _: Reader) -> dict[str, Any]:
        """One budget with what is spent of it."""
        return shown(billing, one(budget_id), core.clock.wall_ns())

    @router.put("/{budget_id}")
    async def change_budget(budget_id: str, principal: Writer, body: BudgetChange) -> dict[str, Any]:
        """Change a budget; the new limit holds for the next call."""
        now_ns = core.clock.wall_ns()
        fields = _fields(body)
        budget = replace(one(budget_id), updated_at_ns=now_ns, **fields)
        await billing.save(budget, event(principal, "update", budget_id, fields))
        return {"status": "updated", **shown(billing, budget, now_ns)}

    @router.post("/{budget_id}/reset")
    async def reset_budget(budget_id: str, principal: Writer) -> dict[str, Any]:
        """What is spent goes back to 0."""
        now_ns = core.clock.wall_ns()
        budget = replace(one(budget_id), reset_at_ns=now_ns, updated_at_ns=now_ns)
        await billing.save(budget, event(principal, "reset", budget_id, {}))
        return {"status": "updated", **shown(billing, budget, now_ns)}

    @router.delete("/{budget_id}")
    async def delete_budget(budget_id: str, principal: Writer) -> dict[str, Any]:
        """Remove a budget; its limit ends with it."""
        one(budget_id)
        await billing.delete(budget_id, event(principal, "delete", budget_id, {}))
        return {"status": "deleted", "id": budget_id}

    return router


def shown(billing: Billing, budget: Budget, now_ns: int) -> dict[str, Any]:
    """The budget as the API shows it, with the state of its account."""
    account = billing.accounts.get(budget.id)
    row: dict[str, Any] = {
        "id": budget.id,
        "name": budget.name,
        "scope": dict(budget.scope),
        "limit_usd": nano_to_usd(budget.limit_nano),
        "period": budget.period,
        "rolling": budget.rolling,
        "timezone": budget.timezone,
        "action": budget.action,
        "warn_at_pct": list(budget.warn_at_pct),
        "enabled": budget.enabled,
        "created_at": rfc3339(budget.created_at_ns),
        "updated_at": rfc3339(budget.updated_at_ns),
        "spent_usd": None,
        "reserved_usd": None,
        "left_usd": None,
        "resets_at": None,
        "state": "off",
    }
    if account is not None:
        account.roll(now_ns)
        resets = account.resets_at_ns()
        over = account.spent_nano >= budget.limit_nano
        row |= {
            "spent_usd": nano_to_usd(account.spent_nano),
            "reserved_usd": nano_to_usd(account.reserved_nano),
            "left_usd": nano_to_usd(account.left_nano),
            "resets_at": rfc3339(resets) if resets is not None else None,
            "state": "over" if over else "ok",
        }
    return row
