"""costcap's reservations."""

from types import SimpleNamespace
from typing import Any

import pytest

from instance.billing.accounts import Account
from instance.billing.app import Billing
from instance.chute.catalogue import Catalogue
from instance.chute.modules.cost.costcap import CostCap
from instance.chute.price import Price
from instance.chute.targets import Target
from instance.core.errors import StockyardError
from tests.modules.exchanges import core, exchange, trail

USD = 10**9


class Prices:
    """100 dollars per million tokens for every model but `unknown`."""

    catalogue = Catalogue()

    def of(self, target: Target) -> Price | None:
        return None if target.model == "unknown" else Price(100_000_000, 100_000_000)


class MemoryBilling(Billing):
    """Billing whose accounts begin empty."""

    async def open_account(self, budget: Any) -> Account:
        return self.accounts.put(Account(budget, self._core.clock.wall_ns()))


async def capped(**settings: Any) -> tuple[CostCap, MemoryBilling]:
    journal = SimpleNamespace(entries=[])
    journal.append = lambda kind, *parts: journal.entries.append((kind, parts))
    base = core(prices=Prices())
    base.journal = journal
    billing = base.services["billing"] = MemoryBilling(base)
    module = CostCap(CostCap.Settings.model_validate(settings))
    await module.start(base, None)
    return module, billing


def chat(text: str = "0123456789" * 4, **more: Any) -> Any:
    x = exchange()
    x.req = {**x.req, "messages": [{"role": "user", "content": text}], **more}
    x.current_module = "costcap"
    return x


def end(module: CostCap, x: Any, tokens: int) -> None:
    x.cost_lines.append(("input", tokens * 100_000))
    module.on_finish(x)


async def test_nothing_is_done_when_there_is_no_limit() -> None:
    module, _ = await capped()
    x = chat()
    module.on_request(x)
    assert (x.decisions, x.state) == ([], {})


async def test_calls_in_parallel_cannot_go_over_the_limit_together() -> None:
    module, billing = await capped(daily_limit_usd=0.01)
    passed, refused = [], 0
    for _ in range(50):
        x = chat(max_tokens=5)
        try:
            module.on_request(x)
        except StockyardError as error:
            assert error.code == "budget_exceeded"
            refused += 1
        else:
            passed.append(x)
    assert passed
    assert refused
    for x in passed:
        end(module, x, 15)
    account = billing.accounts.get("costcap:day")
    assert account is not None
    assert account.spent_nano == len(passed) * 1_500_000
    assert account.reserved_nano == 0
    assert account.spent_nano <= USD // 100


async def test_the_refusal_is_an_insufficient_quota_that_ends_with_the_period() -> None:
    module, _ = await capped(daily_limit_usd=0.000001)
    x = chat()
    with pytest.raises(StockyardError) as caught:
        module.on_request(x)
    error = caught.value
    assert (error.status, error.type, error.retryable) == (429, "insufficient_quota", False)
    assert 1 <= int(error.headers["Retry-After"]) <= 86_400
    assert [action for action, _ in trail(x, "costcap")] == ["refused"]


async def test_a_reservation_is_given_back_whatever_becomes_of_the_call() -> None:
    module, billing = await capped(daily_limit_usd=1)
    x = chat()
    module.on_request(x)
    account = billing.accounts.get("costcap:day")
    assert account is not None
    assert account.reserved_nano > 0
    x.status, x.error_code = "error", "provider_error"
    module.on_finish(x)
    assert (account.reserved_nano, account.spent_nano) == (0, 0)


async def test_a_cost_is_counted_once_also_when_the_core_settles_it_again() -> None:
    module, billing = await capped(daily_limit_usd=1)
    x = chat()
    module.on_request(x)
    end(module, x, 10)
    billing.settle(x)
    account = billing.accounts.get("costcap:day")
    assert account is not None
    assert account.spent_nano == 1_000_000


async def test_what_is_left_goes_out_with_whole_answers() -> None:
    module, _ = await capped(daily_limit_usd=1)
    x = chat()
    module.on_request(x)
    end(module, x, 1000)
    assert (b"x-stockyard-budget-left-usd", b"0.900000000") in x.response_headers


async def test_a_limit_that_warns_lets_the_call_through_and_says_so() -> None:
    module, _ = await capped(daily_limit_usd=0.000001, default_action="warn")
    x = chat()
    module.on_request(x)
    assert [action for action, _ in trail(x, "costcap")] == ["warn", "reserve"]
    assert x.warnings


async def test_thresholds_leave_one_notice_each_in_the_ledger() -> None:
    module, _ = await capped(daily_limit_usd=0.01)
    for _ in range(9):
        x = chat("hi", max_tokens=1)
        module.on_request(x)
        end(module, x, 10)
    entries = module._core.journal.entries  # type: ignore[attr-defined]
    assert [kind for kind, _ in entries] == [2, 2]
    assert b'"pct":50' in entries[0][1][0]
    assert b'"pct":80' in entries[1][1][0]


@pytest.mark.parametrize(("ceiling", "passes"), [(b"1", True), (b"1e999999", True), (b"0.0000001", False)])
async def test_a_header_sets_a_ceiling_for_one_call(ceiling: bytes, passes: bool) -> None:
    module, _ = await capped()
    x = chat()
    x.headers[b"x-stockyard-max-cost-usd"] = ceiling
    if passes:
        module.on_request(x)
        return
    with pytest.raises(StockyardError) as caught:
        module.on_request(x)
    assert caught.value.code == "budget_exceeded"


@pytest.mark.parametrize("ceiling", [b"", b"free", b"-1", b"nan", b"\xff"])
async def test_a_ceiling_that_is_no_amount_is_refused(ceiling: bytes) -> None:
    module, _ = await capped()
    x = chat()
    x.headers[b"x-stockyard-max-cost-usd"] = ceiling
    with pytest.raises(StockyardError) as caught:
        module.on_request(x)
    assert (caught.value.code, caught.value.param) == ("bad_request", "X-Stockyard-Max-Cost-Usd")


async def test_unknown_prices_are_allowed_refused_or_assumed_as_set() -> None:
    module, _ = await capped(daily_limit_usd=0.001)
    x = exchange(model="unknown")
    module.on_request(x)
    module, _ = await capped(unknown_price="reject")
    with pytest.raises(StockyardError) as caught:
        module.on_request(exchange(model="unknown"))
    assert caught.value.code == "price_unknown"
    module, billing = await capped(daily_limit_usd=1, unknown_price=100)
    x = exchange(model="unknown")
    module.on_request(x)
    x.usage.take({"prompt_tokens": 1000, "completion_tokens": 0})
    x.attempts.append({})
    module.on_finish(x)
    account = billing.accounts.get("costcap:day")
    assert account is not None
    assert account.spent_nano == USD // 10


async def test_changed_limits_keep_what_is_reserved_and_the_old_module_takes_nothing_with_it() -> None:
    module, billing = await capped(daily_limit_usd=1)
    x = chat()
    module.on_request(x)
    newer = CostCap(CostCap.Settings.model_validate({"daily_limit_usd": 2}))
    await newer.start(module._core, module)
    await module.stop()
    account = billing.accounts.get("costcap:day")
    assert account is not None
    assert account.reserved_nano > 0
    module.on_finish(x)
    assert account.reserved_nano == 0
    await newer.stop()
    assert billing.accounts.get("costcap:day") is None


@pytest.mark.parametrize(
    "bad", [{"daily_limit_usd": -1}, {"timezone": "Mars/Base"}, {"unknown_price": "perhaps"}, {"nope": 1}]
)
def test_bad_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        CostCap.Settings.model_validate(bad)
