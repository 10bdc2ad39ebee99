"""Budget accounts in memory: what is spent and reserved of each budget, in integer nano-dollars.

Everything here runs on the event loop without awaiting, so that a check and its reservation are one step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from instance.billing.budget import EXACT_FIELDS, Budget, Subject
from instance.billing.periods import FOREVER_NS, ROLLING_NS, calendar_window

BUCKETS = 60
"""A rolling period is counted in so many steps: what was spent leaves it at most one step late."""


class Account:
    """One budget's money. `spent_nano` is of the current period, `reserved_nano` what running calls may still cost."""

    __slots__ = (
        "_buckets",
        "_step_ns",
        "budget",
        "ends_ns",
        "notified_pct",
        "reserved_nano",
        "spent_nano",
        "starts_ns",
        "warns_from_nano",
    )

    def __init__(self, budget: Budget, now_ns: int) -> None:
        self.budget = budget
        self.warns_from_nano = _warns_from_nano(budget)
        self.spent_nano = 0
        self.reserved_nano = 0
        self.notified_pct = 0
        self.starts_ns = 0
        self.ends_ns = 0
        self._buckets: deque[list[int]] | None = None
        self._step_ns = 0
        if budget.rolling and budget.period != "total":
            self._buckets = deque()
            self._step_ns = ROLLING_NS[budget.period] // BUCKETS
        self.roll(now_ns)

    def take(self, other: Account) -> None:
        """Become the other account; calls that reserved here still give back here."""
        self.budget = other.budget
        self.warns_from_nano = other.warns_from_nano
        self.spent_nano = other.spent_nano
        self.notified_pct = other.notified_pct
        self.starts_ns = other.starts_ns
        self.ends_ns = other.ends_ns
        self._buckets = other._buckets
        self._step_ns = other._step_ns

    def roll(self, now_ns: int) -> None:
        """Let what lies before the period go. Cheap while the period lasts."""
        if now_ns < self.ends_ns:
            return
        buckets = self._buckets
        if buckets is None:
            self.starts_ns, self.ends_ns = calendar_window(self.budget.period, now_ns, self.budget.timezone)
            self.spent_nano = 0
            self.notified_pct = 0
            return
        self.ends_ns = now_ns - now_ns % self._step_ns + self._step_ns
        self.starts_ns = self.ends_ns - ROLLING_NS[self.budget.period]
        while buckets and buckets[0][0] < self.starts_ns:
            self.spent_nano -= buckets.popleft()[1]
        if self.spent_nano * 100 < self.notified_pct * self.budget.limit_nano:
            self.notified_pct = 0

    def spend(self, nano: int, at_ns: int) -> None:
        """Count the cost of a call that began at `at_ns`; one of an earlier period does not count."""
        if at_ns < self.starts_ns or at_ns < self.budget.reset_at_ns:
            return
        self.spent_nano += nano
        buckets = self._buckets
        if buckets is None:
            return
        bucket = at_ns - at_ns % self._step_ns
        for entry in reversed(buckets):
            if entry[0] == bucket:
                entry[1] += nano
                return
            if entry[0] < bucket:
                break
        buckets.append([bucket, nano])
        if len(buckets) > 1 and buckets[-2][0] > bucket:
            self._buckets = deque(sorted(buckets))

    @property
    def left_nano(self) -> int:
        """What may still be reserved; never negative."""
        left = self.budget.limit_nano - self.spent_nano - self.reserved_nano
        return left if left > 0 else 0

    def allows(self, nano: int) -> bool:
        return self.spent_nano + self.reserved_nano + nano <= self.budget.limit_nano

    def resets_at_ns(self) -> int | None:
        """When money comes back: the period's end, or the oldest spending of a rolling one leaves; `None`: never."""
        if self.budget.period == "total":
            return None
        if self._buckets is None:
            return self.ends_ns
        if not self._buckets:
            return self.ends_ns
        return self._buckets[0][0] + ROLLING_NS[self.budget.period] + self._step_ns

    def retry_after_s(self, now_ns: int) -> int:
        """Whole seconds until money comes back, at least 1; a year for a budget that never resets."""
        resets = self.resets_at_ns()
        if resets is None or resets >= FOREVER_NS:
            return 365 * 86_400
        return max(1, -(-(resets - now_ns) // 1_000_000_000))

    def crossed_pct(self) -> int:
        """The highest threshold that was crossed since the last question in this period; 0 for none."""
        if self.spent_nano < self.warns_from_nano:
            return 0
        budget = self.budget
        reached = max(
            (pct for pct in budget.warn_at_pct if self.spent_nano * 100 >= pct * budget.limit_nano), default=0
        )
        if reached <= self.notified_pct:
            return 0
        self.notified_pct = reached
        return reached


def _warns_from_nano(budget: Budget) -> int:
    """What must be spent until the first of the thresholds is reached."""
    return -(-budget.warn_at_pct[0] * budget.limit_nano // 100) if budget.warn_at_pct else FOREVER_NS


class Accounts:
    """All accounts, found by who spends without looking at each."""

    def __init__(self) -> None:
        self._by_id: dict[str, Account] = {}
        self._exact: dict[tuple[str, str], list[Account]] = {}
        self.everybodys: list[Account] = []
        """Those that are not told apart by a name: while none is `narrowed`, what any call draws on. Not to be changed."""
        self.narrowed = False
        """Whether some account is not everybody's, so that who spends must be known."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_id.values())

    def get(self, budget_id: str) -> Account | None:
        return self._by_id.get(budget_id)

    def put(self, account: Account) -> Account:
        """Add the account; the one of the same budget takes its state over and keeps its open reservations."""
        before = self._by_id.get(account.budget.id)
        if before is None:
            self._by_id[account.budget.id] = before = account
        else:
            before.take(account)
        self._index()
        return before

    def remove(self, budget_id: str) -> None:
        if self._by_id.pop(budget_id, None) is not None:
            self._index()

    def replace(self, accounts: Iterable[Account]) -> None:
        """The whole new set."""
        self._by_id = {account.budget.id: account for account in accounts}
        self._index()

    def _index(self) -> None:
        self._exact, self.everybodys = {}, []
        self.narrowed = any(account.budget.scope for account in self._by_id.values())
        for account in self._by_id.values():
            scope = account.budget.scope
            name = next((name for name in EXACT_FIELDS if name in scope), None)
            if name is None:
                self.everybodys.append(account)
            else:
                self._exact.setdefault((name, scope[name]), []).append(account)

    def of(self, subject: Subject) -> list[Account]:
        """The accounts that a call by this subject draws on."""
        found = [account for account in self.everybodys if account.budget.covers(subject)]
        if self._exact:
            for name in EXACT_FIELDS:
                for account in self._exact.get((name, getattr(subject, name)), ()):
                    if account.budget.covers(subject):
                        found.append(account)
        return found
