"""The monthly budget of a key: held by the core, whatever modules are on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from instance.billing.accounts import Account
from instance.billing.budget import Budget
from instance.billing.periods import calendar_window
from instance.core.errors import StockyardError
from instance.core.money import nano_to_usd

if TYPE_CHECKING:
    from instance.core.principals import Principal

KEYS_MAX = 100_000
"""Keys whose month is counted; of more than that only those that have a budget."""


class KeyBudgets:
    """What each key spent in this calendar month (UTC), counted also while it has no budget, so that a new one is right."""

    def __init__(self, now_ns: int) -> None:
        self._spent: dict[str, int] = {}
        self._accounts: dict[str, Account] = {}
        self._starts_ns, self._ends_ns = calendar_window("month", now_ns)

    @property
    def starts_ns(self) -> int:
        return self._starts_ns

    def load(self, spent: Iterable[tuple[str, int]]) -> None:
        """Take what is on record for this month."""
        self._spent = dict(spent)
        self._accounts.clear()

    def _roll(self, now_ns: int) -> None:
        if now_ns >= self._ends_ns:
            self._starts_ns, self._ends_ns = calendar_window("month", now_ns)
            self._spent.clear()
            for account in self._accounts.values():
                account.roll(now_ns)

    def account(self, principal: Principal, now_ns: int) -> Account | None:
        """The account of the key's budget, `None` when it has none."""
        limit = principal.budget_month_nano
        if not limit:
            return None
        self._roll(now_ns)
        key = principal.key_text
        account = self._accounts.get(key)
        if account is None or account.budget.limit_nano != limit:
            budget = Budget(id=f"key:{key}", name=principal.name or f"key {key}", limit_nano=limit, period="month")
            new = Account(budget, now_ns)
            new.spent_nano = self._spent.get(key, 0)
            if account is None:
                account = self._accounts[key] = new
            else:
                account.take(new)
        return account

    def check(self, principal: Principal, now_ns: int) -> None:
        """Raise `budget_exceeded` when the key's budget of this month is used up."""
        if not principal.budget_month_nano:
            return
        account = self.account(principal, now_ns)
        if account is not None and account.left_nano <= 0:
            raise exceeded(account, now_ns)

    def settle(self, principal: Principal, nano: int, at_ns: int) -> None:
        """Count the cost of a call that began at `at_ns`."""
        if not nano:
            return
        if at_ns >= self._ends_ns:
            self._roll(at_ns)
        if at_ns < self._starts_ns:
            return
        key = principal.key_text
        spent = self._spent
        if key in spent or len(spent) < KEYS_MAX or principal.budget_month_nano:
            spent[key] = spent.get(key, 0) + nano
        if self._accounts:
            account = self._accounts.get(key)
            if account is not None:
                account.spend(nano, at_ns)


def exceeded(account: Account, now_ns: int, asked_nano: int = 0) -> StockyardError:
    """The refusal for a budget that a call does not fit in."""
    budget = account.budget
    wait_s = account.retry_after_s(now_ns)
    state = "is used up" if not asked_nano or account.left_nano <= 0 else "has too little left for this call"
    return StockyardError(
        "budget_exceeded",
        f"The budget {budget.name!r} of ${nano_to_usd(budget.limit_nano):g} a {budget.period} {state}.",
        headers={"Retry-After": str(wait_s)},
        details={
            "budget": budget.id,
            "limit_usd": nano_to_usd(budget.limit_nano),
            "spent_usd": nano_to_usd(account.spent_nano),
            "reserved_usd": nano_to_usd(account.reserved_nano),
            "asked_usd": nano_to_usd(asked_nano),
        },
        retryable=False,
    )
