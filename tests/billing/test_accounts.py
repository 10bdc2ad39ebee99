"""Budget accounts: what is spent, reserved and left, over the periods."""

import pytest

from instance.billing.accounts import Account, Accounts
from instance.billing.budget import Budget, Subject
from instance.billing.key_budgets import KeyBudgets
from instance.core.errors import StockyardError
from instance.core.principals import Principal

S = 10**9
DAY = 86_400 * S
NOW = 1_767_225_600 * S  # 2026-01-01T00:00:00Z


def budget(limit: int = 100, **more: object) -> Budget:
    fields = {"id": "bud_1", "name": "b", "limit_nano": limit, "period": "day", **more}
    return Budget(**fields)  # type: ignore[arg-type]


def subject(**more: object) -> Subject:
    fields = {"key": "1", "user": "u", "team": "t", "project": "p", "model": "openai/gpt-4o", "tags": {}, **more}
    return Subject(**fields)  # type: ignore[arg-type]


def test_what_is_reserved_is_not_there_for_others() -> None:
    account = Account(budget(100), NOW)
    account.reserved_nano += 60
    assert account.allows(40)
    assert not account.allows(41)
    assert account.left_nano == 40


def test_a_new_period_begins_with_nothing_spent_and_open_reservations_kept() -> None:
    account = Account(budget(100), NOW)
    account.spend(90, NOW)
    account.reserved_nano = 5
    account.roll(NOW + DAY - 1)
    assert account.spent_nano == 90
    account.roll(NOW + DAY)
    assert (account.spent_nano, account.reserved_nano) == (0, 5)


def test_a_call_that_began_in_the_period_before_does_not_count_in_the_new_one() -> None:
    account = Account(budget(100), NOW + DAY)
    account.spend(50, NOW + DAY - 1)
    assert account.spent_nano == 0


def test_a_rolling_day_forgets_what_was_spent_a_day_ago() -> None:
    account = Account(budget(100, rolling=True), NOW)
    account.spend(70, NOW)
    account.roll(NOW + 12 * 3600 * S)
    account.spend(20, NOW + 12 * 3600 * S)
    account.roll(NOW + 23 * 3600 * S)
    assert account.spent_nano == 90
    account.roll(NOW + 25 * 3600 * S)
    assert account.spent_nano == 20
    account.roll(NOW + 40 * 3600 * S)
    assert account.spent_nano == 0


def test_retry_after_is_the_time_to_the_periods_end() -> None:
    account = Account(budget(100), NOW + 10 * S)
    assert account.retry_after_s(NOW + 10 * S) == 86_390
    assert Account(budget(100, period="total"), NOW).retry_after_s(NOW) >= 86_400


def test_each_threshold_is_told_once_a_period() -> None:
    account = Account(budget(100), NOW)
    told = []
    for _ in range(12):
        account.spend(10, NOW)
        told.append(account.crossed_pct())
    assert [pct for pct in told if pct] == [50, 80, 100]
    account.roll(NOW + DAY)
    account.spend(60, NOW + DAY)
    assert account.crossed_pct() == 50


def test_accounts_are_found_by_who_spends() -> None:
    accounts = Accounts()
    scopes = {
        "all": {},
        "team": {"team": "t"},
        "other": {"team": "x"},
        "key": {"key": "1", "model": "gpt-4*"},
        "model": {"model": "claude*"},
        "user": {"user": "u", "project": "q"},
        "tag": {"tag": "feature=search"},
    }
    for name, scope in scopes.items():
        accounts.put(Account(budget(id=name, scope=scope), NOW))
    assert {a.budget.id for a in accounts.of(subject())} == {"all", "team", "key"}
    assert {a.budget.id for a in accounts.of(subject(tags={"feature": "search"}, team=""))} == {"all", "key", "tag"}
    accounts.remove("all")
    assert {a.budget.id for a in accounts.of(subject(key="2", model="claude-x"))} == {"team", "model"}


def test_a_changed_budget_keeps_its_open_reservations() -> None:
    accounts = Accounts()
    held = accounts.put(Account(budget(100), NOW))
    held.reserved_nano = 30
    now = accounts.put(Account(budget(50), NOW))
    assert now is held
    assert (now.budget.limit_nano, now.left_nano) == (50, 20)


def principal(limit: int) -> Principal:
    return Principal(7, "proxy", ("proxy:call",), name="k", budget_month_nano=limit)


def test_a_key_over_its_monthly_budget_is_refused_until_the_next_month() -> None:
    keys = KeyBudgets(NOW)
    keys.check(principal(100), NOW)
    keys.settle(principal(100), 100, NOW)
    with pytest.raises(StockyardError) as caught:
        keys.check(principal(100), NOW + DAY)
    error = caught.value
    assert (error.code, error.status, error.type, error.retryable) == (
        "budget_exceeded",
        429,
        "insufficient_quota",
        False,
    )
    assert int(error.headers["Retry-After"]) == 30 * 86_400
    keys.check(principal(100), NOW + 31 * DAY)


def test_a_key_that_gets_a_budget_later_has_its_month_counted() -> None:
    keys = KeyBudgets(NOW)
    keys.settle(principal(0), 80, NOW)
    keys.check(principal(100), NOW)
    keys.settle(principal(100), 20, NOW)
    with pytest.raises(StockyardError):
        keys.check(principal(100), NOW)
    keys.check(principal(200), NOW)


def test_a_key_without_a_budget_is_never_refused() -> None:
    keys = KeyBudgets(NOW)
    keys.settle(principal(0), 10**15, NOW)
    keys.check(principal(0), NOW)
