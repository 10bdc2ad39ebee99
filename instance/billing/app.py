"""Billing of one instance: the budgets, their accounts in memory, and the way a call's cost gets into them."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from instance.billing import store
from instance.billing.accounts import Account, Accounts
from instance.billing.budget import Budget, Subject
from instance.billing.key_budgets import KeyBudgets
from instance.billing.plan_quota import PlanQuota, calls_of_month
from instance.billing.spend import keys_since, spent_since
from instance.chute.worst_case import worst_case_of_all_nano
from instance.core.errors import StockyardError
from instance.core.writer import LedgerEvent

if TYPE_CHECKING:
    from fastapi import APIRouter

    from instance.chute.exchange import Exchange
    from instance.core.core import Core

BUDGETS_MAX = 10_000


class Billing:
    """`await start()` after the core is open and before the first call. All money is integer nano-dollars."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.budgets: dict[str, Budget] = {}
        """The rows of the table by id, newest first."""
        self.accounts = Accounts()
        self.key_budgets = KeyBudgets(core.clock.wall_ns())
        self.quota = PlanQuota(core.clock.wall_ns())
        self.quota.set(core.services.get("quotas", {}))

    async def start(self) -> None:
        """Rebuild every account from what is on record; the journal is folded first, so that nothing is forgotten."""
        core = self._core
        await core.writer.drain()
        now_ns = core.clock.wall_ns()

        def read(connection: sqlite3.Connection) -> tuple[list[Budget], list[Account], list[tuple[str, int]], int]:
            rows = store.budgets(connection)
            accounts = [seeded(connection, row, now_ns) for row in rows if row.enabled]
            keys = list(keys_since(connection, self.key_budgets.starts_ns))
            return rows, accounts, keys, calls_of_month(connection, self.quota.starts_ns)

        rows, accounts, keys, self.quota.calls = await core.database.read(read)
        self.budgets = {row.id: row for row in rows}
        self.accounts.replace(accounts)
        self.key_budgets.load(keys)

    async def open_account(self, budget: Budget) -> Account:
        """Put an account for the budget in place, holding what is on record for its current period.

        A call that ends while this reads may be missed or counted twice; both are over with the period.
        """
        core = self._core
        await core.writer.drain()
        now_ns = core.clock.wall_ns()
        account: Account = await core.database.read(lambda connection: seeded(connection, budget, now_ns))
        return self.accounts.put(account)

    def close_account(self, budget_id: str) -> None:
        self.accounts.remove(budget_id)

    async def save(self, budget: Budget, event: LedgerEvent) -> None:
        """Store the budget and let its limit hold from the next call on. Raises `conflict` when there are too many."""
        if budget.id not in self.budgets and len(self.budgets) >= BUDGETS_MAX:
            raise StockyardError("conflict", f"There are {BUDGETS_MAX} budgets; delete one first.")
        await self._core.writer.write(lambda connection: store.save(connection, budget), [event])
        if budget.id in self.budgets:
            self.budgets[budget.id] = budget
        else:
            self.budgets = {budget.id: budget, **self.budgets}
        if budget.enabled:
            await self.open_account(budget)
        else:
            self.close_account(budget.id)

    async def delete(self, budget_id: str, event: LedgerEvent) -> None:
        """Remove the budget and its account."""
        await self._core.writer.write(lambda connection: store.delete(connection, budget_id), [event])
        self.budgets.pop(budget_id, None)
        self.close_account(budget_id)

    def admit(self, x: Exchange) -> None:
        """Hold the plan's quota and the budget of the call's key: raise `quota_exceeded`, `rate_limited` or `budget_exceeded`
        when nothing is left of it, else reserve.

        The core asks this of every call, whatever modules are on. Only a call that is alone can go over, by its own cost.
        """
        if self.quota.limits:
            self.quota.admit(x)
        principal = x.principal
        if principal is None or not principal.budget_month_nano:
            return
        self.key_budgets.check(principal, x.started_wall_ns)
        account = self.key_budgets.account(principal, x.started_wall_ns)
        if account is not None:
            nano, _ = worst_case_of_all_nano(x, self._core.services)
            account.reserved_nano += nano
            x.state["key_reserved"] = (account, nano)

    def _release(self, x: Exchange) -> None:
        held: tuple[Account, int] | None = x.state.pop("key_reserved", None)
        if held is not None:
            held[0].reserved_nano -= held[1]

    def drawn_on(self, x: Exchange) -> list[Account]:
        """The accounts that the call draws on, its key's own budget among them; who asks reserves anew in all of them."""
        accounts = self.accounts
        found = accounts.of(subject(x)) if accounts.narrowed else accounts.everybodys
        principal = x.principal
        if principal is not None and principal.budget_month_nano:
            own = self.key_budgets.account(principal, x.started_wall_ns)
            if own is not None:
                self._release(x)
                found = [*found, own]
        return found

    def accounts_of(self, x: Exchange) -> list[Account]:
        """The accounts of the table's budgets that the call draws on; not to be changed."""
        accounts = self.accounts
        return accounts.of(subject(x)) if accounts.narrowed else accounts.everybodys

    def settle(self, x: Exchange) -> None:
        """Give back what was reserved and count the call's cost in every account that it draws on.

        To be called at the end of every call; it counts once, however often it is called for one.
        """
        state = x.state
        if "quota" in state:
            self.quota.settle(x)
        if "key_reserved" in state:
            self._release(x)
        if not x.cost_lines or "settled" in state:
            return
        nano = x.cost_nano
        if not nano:
            return
        state["settled"] = True
        at_ns = x.started_wall_ns
        if x.principal is not None:
            self.key_budgets.settle(x.principal, nano, at_ns)
        accounts = self.accounts
        for account in accounts.of(subject(x)) if accounts.narrowed else accounts.everybodys:
            if at_ns >= account.ends_ns:
                account.roll(at_ns)
            account.spend(nano, at_ns)

    def router(self) -> APIRouter:
        """The routes under `/api/billing`."""
        from instance.billing.routes import budget_router  # FastAPI is slow to import and not on the way of a call

        return budget_router(self, self._core)


def subject(x: Exchange) -> Subject:
    """Who spends in this call, and on what."""
    principal = x.principal
    key = principal.key_text if principal is not None else ""
    return Subject(key, x.user, x.team, x.project, x.model_requested, x.tags)


def seeded(connection: sqlite3.Connection, budget: Budget, now_ns: int) -> Account:
    """An account of the budget that holds what is on record for its current period."""
    account = Account(budget, now_ns)
    for at_ns, nano in spent_since(connection, budget, account.starts_ns):
        account.spend(nano, max(at_ns, account.starts_ns, budget.reset_at_ns))
    return account
