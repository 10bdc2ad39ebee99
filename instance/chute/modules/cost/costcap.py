"""costcap: spending limits that hold, also for calls in parallel: reserve before the call, settle after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

import orjson
from pydantic import Field, field_validator

from instance.billing.accounts import Account
from instance.billing.budget import Budget
from instance.billing.key_budgets import exceeded
from instance.billing.periods import Period, zone
from instance.chute.answer import Answer, Delta
from instance.chute.cost_lines import cost_lines
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.cost.stream_spending import StreamTokens
from instance.chute.price import Price
from instance.chute.worst_case import worst_case_of_all_nano
from instance.core.errors import StockyardError
from instance.core.money import NANO_PER_USD, line_cost_nano, nano_to_usd, usd_to_micro, usd_to_nano

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from instance.billing.app import Billing
    from instance.chute.prices import PriceTable
    from instance.core.core import Core

LEDGER_EVENT_KIND = 2
CEILING_MAX_USD = Decimal(1_000_000_000)
LEFT = b"x-stockyard-budget-left-usd"
Usd = Annotated[Decimal, Field(ge=0, le=1_000_000_000)]


class CostCap(Module):
    """Holds the budgets of Billing's table, and two short-form global ones of its own.

    A call is refused when what is spent and reserved plus its own worst case (counted prompt, most output, dearest
    target) would go over a limit; afterwards its real cost takes the reservation's place.
    """

    name: ClassVar[str] = "costcap"
    category: ClassVar[str] = "cost"
    group: ClassVar[int] = 8
    summary: ClassVar[str] = "Spending limits that hold, by reservation before the call"
    rejects: ClassVar[tuple[str, ...]] = ("budget_exceeded", "price_unknown", "bad_request")
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        daily_limit_usd: Usd = Field(default=Decimal(0), description="Limit of all calls of a day in dollars; 0: none.")
        monthly_limit_usd: Usd = Field(
            default=Decimal(0), description="Limit of all calls of a month in dollars; 0: none."
        )
        default_action: Literal["block", "warn", "downgrade"] = Field(
            default="block", description="What happens to a call that does not fit into the daily or monthly limit."
        )
        notify_at_pct: list[Annotated[int, Field(ge=1, le=1000)]] = Field(
            default=[50, 80, 100],
            max_length=10,
            description="Shares of those limits at which a notice is left, once a period.",
        )
        timezone: str = Field(default="UTC", max_length=64, description="Time zone in which day and month begin.")
        assume_output_tokens: int = Field(
            default=4096, ge=1, le=10_000_000, description="Output to reserve for where the request sets no maximum."
        )
        unknown_price: Literal["allow", "reject"] | Usd = Field(
            default="allow",
            description="Models without a price: allow, reject, or a number of dollars per million tokens to assume.",
        )
        cut_stream: bool = Field(
            default=False, description="End a stream with an error once it outgrows its reservation and the limit."
        )

        @field_validator("timezone")
        @classmethod
        def _known_zone(cls, name: str) -> str:
            zone(name)
            return name

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        unknown = settings.unknown_price
        self._rejects_unknown = unknown == "reject"
        self._assumed: Price | None = None
        if isinstance(unknown, Decimal):
            micro = usd_to_micro(unknown)
            self._assumed = Price(micro, micro, None, "assumed")
        self._always = self._rejects_unknown or self._assumed is not None
        self._assumed_tokens = settings.assume_output_tokens
        self._own: list[Budget] = []
        self._billing: Billing
        self._prices: PriceTable
        self._core: Core

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._billing = core.services["billing"]
        self._prices = core.services["prices"]
        settings = self.settings
        short: list[tuple[Period, Decimal]] = [("day", settings.daily_limit_usd), ("month", settings.monthly_limit_usd)]
        for period, limit_usd in short:
            ident = f"costcap:{period}"
            if not limit_usd:
                self._billing.close_account(ident)
                continue
            budget = Budget(
                id=ident,
                name=f"costcap's limit a {period}",
                limit_nano=usd_to_nano(limit_usd),
                period=period,
                timezone=settings.timezone,
                action=settings.default_action,
                warn_at_pct=tuple(sorted(settings.notify_at_pct)),
            )
            self._own.append(budget)
            await self._billing.open_account(budget)

    async def stop(self) -> None:
        for budget in self._own:
            account = self._billing.accounts.get(budget.id)
            if account is not None and account.budget is budget:
                self._billing.close_account(budget.id)

    def hooks(self) -> tuple[str, ...]:
        return super().hooks() if self.settings.cut_stream else ("on_request", "on_finish")

    def passes(self, x: Exchange) -> bool:
        return not x.stream

    def on_request(self, x: Exchange) -> Answer | None:
        ceiling = x.headers.get(b"x-stockyard-max-cost-usd")
        accounts = self._billing.drawn_on(x)
        if not accounts and ceiling is None and not self._always:
            return None
        estimate = self._estimate_nano(x)
        if ceiling is not None:
            self._check_ceiling(x, ceiling, estimate)
        if accounts:
            self._reserve(x, accounts, estimate)
        return None

    def _estimate_nano(self, x: Exchange) -> int:
        """What the call can cost at most. Raises `price_unknown`."""
        nano, unpriced = worst_case_of_all_nano(x, self._core.services, self._assumed_tokens, self._assumed)
        if unpriced is not None and self._rejects_unknown:
            raise StockyardError(
                "price_unknown",
                f"The model {unpriced.label!r} has no price and costcap refuses such calls; set its price.",
                param="model",
            )
        return nano

    def _check_ceiling(self, x: Exchange, asked: bytes, estimate: int) -> None:
        try:
            ceiling = Decimal(asked.decode("ascii"))
            if not ceiling.is_finite() or ceiling < 0:
                raise ValueError
        except (ValueError, InvalidOperation):
            raise StockyardError(
                "bad_request", "The ceiling is a number of dollars, 0 or more.", param="X-Stockyard-Max-Cost-Usd"
            ) from None
        if estimate > usd_to_nano(min(ceiling, CEILING_MAX_USD)):
            x.note("refused", {"scope": "call", "asked_usd": nano_to_usd(estimate), "limit_usd": float(ceiling)})
            raise StockyardError(
                "budget_exceeded",
                f"The call could cost ${nano_to_usd(estimate):g}, more than the ${ceiling} that it allows itself.",
                param="X-Stockyard-Max-Cost-Usd",
                retryable=False,
            )

    def _reserve(self, x: Exchange, accounts: list[Account], estimate: int) -> None:
        now_ns = x.started_wall_ns
        tightest = accounts[0]
        least: int | None = None
        for account in accounts:
            if now_ns >= account.ends_ns:
                account.roll(now_ns)
            free = account.budget.limit_nano - account.spent_nano - account.reserved_nano
            if free < estimate:
                self._over(x, account, estimate)
            if free < 0:
                free = 0
            if least is None or free < least:
                least = free
                tightest = account
        if x.dry:
            return
        for account in accounts:
            account.reserved_nano += estimate
        x.state["costcap"] = (accounts, estimate)
        left = (least or 0) - estimate
        x.note(
            "reserve",
            {
                "scope": tightest.budget.name,
                "usd": estimate / NANO_PER_USD,
                "left_usd": left / NANO_PER_USD if left > 0 else 0.0,
            },
        )

    def _over(self, x: Exchange, account: Account, estimate: int) -> None:
        budget = account.budget
        detail = {"scope": budget.name, "asked_usd": nano_to_usd(estimate), "left_usd": nano_to_usd(account.left_nano)}
        if budget.action == "block":
            x.note("refused", detail)
            raise exceeded(account, x.started_wall_ns, estimate)
        x.note(budget.action, detail)
        x.warnings.append(f"budget {budget.name}")
        if budget.action == "downgrade":
            x.state["downgrade"] = budget.id

    async def around(self, x: Exchange, call: Call) -> Answer:
        answer = await call(x)
        if answer.events is not None and "costcap" in x.state and answer.target is not None:
            price = self._prices.of(answer.target) or self._assumed
            if price is not None and price.output:
                answer.events = self._watched(x, answer.events, price)
        return answer

    async def _watched(
        self, x: Exchange, events: AsyncIterator[list[Delta]], price: Price
    ) -> AsyncIterator[list[Delta]]:
        """The same events, until what they cost goes over the reservation and over a limit that blocks."""
        accounts, estimate = x.state["costcap"]
        prompt_nano = line_cost_nano(x.prompt_tokens(), price.input)
        count = StreamTokens().add
        covered = (estimate - prompt_nano) * 1000 // price.output
        """So many tokens cost no more than what is reserved, but for what is rounded."""
        async with aclosing(cast("AsyncGenerator[list[Delta], None]", events)):
            async for batch in events:
                tokens = count(batch)
                over = prompt_nano + line_cost_nano(tokens, price.output) - estimate if tokens >= covered else 0
                if over > 0:
                    for account in accounts:
                        if account.budget.action == "block" and not account.allows(over):
                            x.note("cut", {"scope": account.budget.name, "tokens": tokens}, module=self.name)
                            raise exceeded(account, x.started_wall_ns, over)
                yield batch

    def on_finish(self, x: Exchange) -> None:
        held: tuple[list[Account], int] | None = x.state.pop("costcap", None)
        if held is None:
            return
        accounts, estimate = held
        for account in accounts:
            account.reserved_nano -= estimate
        if self._assumed is not None and not x.cost_lines and x.usage.source and x.attempts:
            x.cost_lines += cost_lines(self._assumed, x.usage)
            x.cost_unknown = False
        self._billing.settle(x)
        if not x.stream:
            left = -1
            for account in accounts:
                free = account.budget.limit_nano - account.spent_nano - account.reserved_nano
                if free < left or left < 0:
                    left = free if free > 0 else 0
            x.response_headers.append((LEFT, f"{left // NANO_PER_USD}.{left % NANO_PER_USD:09}".encode()))
        for account in accounts:
            if account.spent_nano >= account.warns_from_nano:
                pct = account.crossed_pct()
                if pct:
                    self._notify(x, account, pct)

    def _notify(self, x: Exchange, account: Account, pct: int) -> None:
        """One notice for a threshold: in the trail and in the ledger."""
        budget = account.budget
        x.note("threshold", {"scope": budget.name, "pct": pct, "spent_usd": nano_to_usd(account.spent_nano)})
        event = {
            "event_type": "billing_event",
            "actor": "system",
            "resource": f"budget:{budget.id}",
            "action": "threshold",
            "detail": {"limit_nano": budget.limit_nano, "pct": pct, "spent_nano": account.spent_nano},
            "trace_id": x.id,
            "created_at_ns": self._core.clock.wall_ns(),
        }
        self._core.journal.append(LEDGER_EVENT_KIND, orjson.dumps(event))
