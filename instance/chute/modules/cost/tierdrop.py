"""tierdrop: moves calls to a cheaper model before the money runs out."""

from __future__ import annotations

from decimal import Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.billing.accounts import Account
from instance.billing.app import seeded
from instance.billing.budget import Budget
from instance.chute.call_identity import key_id, model_names
from instance.chute.cost_lines import cost_lines
from instance.chute.exchange import Exchange
from instance.chute.module import TEXT_KINDS, Module, ModuleSettings
from instance.chute.modules.cost.needed_abilities import lacks
from instance.chute.worst_case import worst_case_nano
from instance.core.money import usd_to_nano

if TYPE_CHECKING:
    from instance.billing.app import Billing
    from instance.chute.prices import PriceTable
    from instance.chute.router import Router
    from instance.chute.targets import Target
    from instance.core.core import Core

TIERS_MAX = 50
OWN = "tierdrop"
HIGH = b"high"


class Tier(BaseModel):
    """From this share of the budget on, models that fit the glob are replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_pct: float = Field(gt=0, le=1000, description="Share of the budget, in percent, from which it holds.")
    match: str = Field(min_length=1, max_length=256, description="Glob of the models that it replaces.")
    model: str = Field(min_length=1, max_length=256, description="The model instead: provider/model or a bare name.")


class TierDrop(Module):
    """The highest tier that is reached replaces the model, if the new one costs no more and can do what the call needs.

    The share used is the largest among the budgets that the call draws on, what running calls reserved included. A tier
    that was reached holds until the share is `hysteresis_pct` below it. A tier whose model lacks an ability, costs more or
    may not be used is passed over for the next lower one.
    """

    name: ClassVar[str] = "tierdrop"
    category: ClassVar[str] = "cost"
    group: ClassVar[int] = 7
    summary: ClassVar[str] = "Moves calls to a cheaper model as the budget is used up"
    kinds: ClassVar[frozenset[str]] = TEXT_KINDS

    class Settings(ModuleSettings):
        tiers: list[Tier] = Field(default=[], max_length=TIERS_MAX, description="The tiers, in any order.")
        budget: Literal["costcap", "own"] = Field(
            default="costcap", description="What is watched: the budgets that the call draws on, or one of its own."
        )
        budget_usd: Annotated[Decimal, Field(ge=0, le=1_000_000_000)] = Field(
            default=Decimal(0), description="Its own budget in dollars, over all calls; it refuses nothing."
        )
        period: Literal["day", "month"] = Field(default="month", description="Period of its own budget.")
        hysteresis_pct: float = Field(
            default=5.0, ge=0, le=100, description="So far below its tier the share must fall before the tier ends."
        )
        spare_keys: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
            default=[],
            max_length=1000,
            description="Ids or names of keys whose calls with `X-Stockyard-Priority: high` are left alone.",
        )

        @field_validator("tiers")
        @classmethod
        def _one_a_share(cls, tiers: list[Tier]) -> list[Tier]:
            if len({(tier.at_pct, tier.match) for tier in tiers}) < len(tiers):
                raise ValueError("two tiers have the same share and glob")
            return tiers

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._tiers = sorted(settings.tiers, key=lambda tier: -tier.at_pct)
        self._lowest_pct = min([tier.at_pct for tier in settings.tiers], default=0.0)
        self._has_own = settings.budget == "own"
        self._spared = frozenset(settings.spare_keys)
        self._reached: dict[str, float] = {}  # by budget, of which there are at most BUDGETS_MAX: the tier that holds
        self._own: Account | None = None
        self._billing: Billing
        self._router: Router
        self._prices: PriceTable

    def hooks(self) -> tuple[str, ...]:
        return ("on_request", "on_finish") if self._tiers else ()

    async def start(self, core: Core, previous: Module | None) -> None:
        self._billing = core.services["billing"]
        self._router = core.services["router"]
        self._prices = core.services["prices"]
        settings = self.settings
        if isinstance(previous, TierDrop):
            self._reached = previous._reached
        if settings.budget == "own" and settings.budget_usd:
            budget = Budget(OWN, OWN, usd_to_nano(settings.budget_usd), settings.period, action="warn")
            await core.writer.drain()
            now_ns = core.clock.wall_ns()
            self._own = await core.database.read(lambda connection: seeded(connection, budget, now_ns))

    def on_request(self, x: Exchange) -> None:
        if not x.targets or (self._spared and self._is_spared(x)):
            return
        own = self._own
        if own is not None and not self._reached and x.started_wall_ns < own.ends_ns:
            limit = own.budget.limit_nano  # what `_used_pct` says of it, asked without a call
            if limit and 100.0 * (own.spent_nano + own.reserved_nano) / limit < self._lowest_pct:
                return
        used = self._used_pct(x)
        if used < self._lowest_pct:
            return
        names = model_names(x)
        for tier in self._tiers:
            if tier.at_pct > used or not any(fnmatchcase(name, tier.match) for name in names):
                continue
            before = x.targets[0]
            if not self._take(x, tier.model):
                continue
            after = x.targets[0]
            if not x.dry:
                x.state["tierdrop"] = before
            x.note("drop", {"from": before.label, "to": after.label, "used_pct": round(used, 2), "tier": tier.at_pct})
            x.response_headers.append((b"x-stockyard-model-dropped", before.label.encode("latin-1", "replace")))
            return

    def _is_spared(self, x: Exchange) -> bool:
        if x.headers.get(b"x-stockyard-priority", b"").strip().lower() != HIGH:
            return False
        return key_id(x) in self._spared or (x.principal is not None and x.principal.name in self._spared)

    def _used_pct(self, x: Exchange) -> float:
        """The largest share used of a budget that the call draws on; where a tier held, at least that tier's until the share
        is well below it."""
        now_ns = x.started_wall_ns
        if self._has_own:
            return self._held_pct(self._own, now_ns) if self._own is not None else 0.0
        accounts = self._billing.accounts_of(x)
        principal = x.principal
        if principal is not None and principal.budget_month_nano:
            own = self._billing.key_budgets.account(principal, now_ns)
            accounts = [*accounts, own] if own is not None else accounts
        return max((self._held_pct(account, now_ns) for account in accounts), default=0.0)

    def _held_pct(self, account: Account, now_ns: int) -> float:
        if now_ns >= account.ends_ns:
            account.roll(now_ns)
        limit = account.budget.limit_nano
        used = 100.0 * (account.spent_nano + account.reserved_nano) / limit if limit else 0.0
        if used < self._lowest_pct and not self._reached:
            return used
        reached = next((tier.at_pct for tier in self._tiers if tier.at_pct <= used), 0.0)
        before = self._reached.get(account.budget.id, 0.0)
        if reached < before and used > before - self.settings.hysteresis_pct:
            return before
        if reached:
            self._reached[account.budget.id] = reached
        else:
            self._reached.pop(account.budget.id, None)
        return used

    def _take(self, x: Exchange, model: str) -> bool:
        """Send the call to a tier's model; False, and nothing changed, when it is no gain or may not be."""
        before, route, waiting = x.targets, x.route, x.state.get("no_target")
        if before[0].label == model or not self._router.choose(x, model):
            return False
        target = x.targets[0]
        if target.label != before[0].label and self._is_cheaper(x, before[0], target):
            lacking = lacks(x, self._prices.catalogue.of(target))
            if not lacking:
                return True
            x.note("passed_over", {"model": target.label, "lacks": lacking})
        x.targets, x.route = before, route
        if waiting is not None:
            x.state["no_target"] = waiting
        return False

    def _is_cheaper(self, x: Exchange, before: Target, after: Target) -> bool:
        """Whether the call costs no more there; not when a price is not known."""
        costs = []
        for target in (before, after):
            nano, unpriced = worst_case_nano(x, self._prices, targets=(target,))
            if unpriced is not None:
                return False
            costs.append(nano)
        return costs[1] <= costs[0]

    def on_finish(self, x: Exchange) -> None:
        if self._own is not None and x.cost_lines:
            own, at_ns = self._own, x.started_wall_ns
            if at_ns >= own.ends_ns:
                own.roll(at_ns)
            own.spend(x.cost_nano, at_ns)
        if "tierdrop" not in x.state:
            return
        before: Target = x.state.pop("tierdrop")
        if not x.usage.source or x.answer is None:
            return
        price = self._prices.of(before)
        if price is not None and not x.cost_unknown:
            dearer = sum(nano for _, nano in cost_lines(price, x.usage))
            x.saved_nano += max(0, dearer - x.cost_nano - x.saved_nano)  # a cache may have saved a part of it
