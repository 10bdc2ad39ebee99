import asyncio
from typing import Any

import pytest

from instance.chute.failures import CallFailed
from instance.chute.modules.reliability.retry import Retry
from instance.chute.price import Price
from instance.core.clock import Clock
from tests.modules.exchanges import Script, core, exchange, http_failure, target, trail, whole


class SleeplessClock(Clock):
    """Time passes only by sleeping, at once."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.now_ns = 10**9

    def mono_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ns += round(seconds * 1e9)


async def retry(clock: SleeplessClock | None = None, share: float = 1.0, **settings: Any) -> Retry:
    module = Retry(Retry.Settings(**settings), random=lambda: share)
    await module.start(core(clock or SleeplessClock()), None)
    return module


async def test_two_503s_and_an_answer_are_an_answer() -> None:
    module, script, x, answer = (
        await retry(),
        Script(http_failure(503), http_failure(503), good := whole()),
        exchange(),
        None,
    )
    answer = await module.around(x, script)
    assert answer is good
    assert script.calls == 3
    assert x.response_headers == [(b"x-stockyard-attempts", b"3")]
    assert [detail["reason"] for _, detail in trail(x, "retry")] == ["503", "503"]


async def test_a_400_is_not_repeated() -> None:
    script = Script(http_failure(400), whole())
    with pytest.raises(CallFailed):
        await (await retry()).around(exchange(), script)
    assert script.calls == 1


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
async def test_statuses_that_may_pass_are_repeated(status: int) -> None:
    script = Script(http_failure(status), whole())
    await (await retry()).around(exchange(), script)
    assert script.calls == 2


@pytest.mark.parametrize("kind", ["connect", "reset", "connect_timeout", "timeout_first_token", "truncated"])
async def test_broken_connections_and_attempts_that_took_too_long_are_repeated(kind: str) -> None:
    script = Script(CallFailed(kind, target()), whole())
    await (await retry()).around(exchange(), script)
    assert script.calls == 2


@pytest.mark.parametrize("kind", ["timeout_total", "tls", "blocked_address", "bad_response", "too_large"])
async def test_what_will_not_pass_is_not_repeated(kind: str) -> None:
    script = Script(CallFailed(kind, target()), whole())
    with pytest.raises(CallFailed):
        await (await retry()).around(exchange(), script)
    assert script.calls == 1


async def test_the_last_failure_is_passed_on_when_all_failed() -> None:
    module, x = await retry(), exchange()
    with pytest.raises(CallFailed) as caught:
        await module.around(x, Script(http_failure(500), http_failure(502), http_failure(504)))
    assert caught.value.status == 504
    assert x.response_headers == [(b"x-stockyard-attempts", b"3")]


async def test_the_bound_of_the_random_wait_doubles_up_to_a_limit() -> None:
    clock = SleeplessClock()
    module = await retry(clock, share=0.5, max_retries=4, base_delay_s=1.0, max_delay_s=3.0)
    with pytest.raises(CallFailed):
        await module.around(exchange(), Script(*[http_failure(500)] * 5))
    assert clock.slept == [0.5, 1.0, 1.5, 1.5]


async def test_retry_after_is_waited_for_and_counted_as_waiting() -> None:
    clock, x = SleeplessClock(), exchange()
    module = await retry(clock)
    await module.around(x, Script(http_failure(429, headers={b"retry-after": b"1"}), whole()))
    assert clock.slept == [1.0]
    assert x.waited_ns == 10**9


async def test_a_wait_that_is_too_long_is_not_begun() -> None:
    script = Script(http_failure(429, headers={b"retry-after": b"21"}), whole())
    with pytest.raises(CallFailed):
        await (await retry()).around(exchange(), script)
    assert script.calls == 1


async def test_a_wait_that_the_deadline_leaves_no_room_for_is_not_begun() -> None:
    x = exchange()
    x.deadline_ns = x.started_ns + 2 * 10**9
    script = Script(http_failure(429, headers={b"retry-after": b"1"}), whole())
    with pytest.raises(CallFailed):
        await (await retry()).around(x, script)
    assert script.calls == 1


async def test_a_used_up_account_is_not_asked_again() -> None:
    script = Script(http_failure(429, {"error": {"message": "no", "code": "insufficient_quota"}}), whole())
    with pytest.raises(CallFailed):
        await (await retry()).around(exchange(), script)
    assert script.calls == 1


async def test_a_provider_that_says_so_is_not_asked_again() -> None:
    script = Script(http_failure(500, headers={b"x-should-retry": b"false"}), whole())
    with pytest.raises(CallFailed):
        await (await retry()).around(exchange(), script)
    assert script.calls == 1


async def test_all_calls_together_share_one_budget() -> None:
    module = await retry(max_retries=1, budget_ratio=0.0, base_delay_s=0)
    scripts = [Script(http_failure(500), whole()) for _ in range(12)]
    outcomes = await asyncio.gather(*(module.around(exchange(), script) for script in scripts), return_exceptions=True)
    assert sum(isinstance(outcome, CallFailed) for outcome in outcomes) == 2


async def test_first_attempts_earn_retries() -> None:
    module = await retry(max_retries=1, budget_ratio=0.5, base_delay_s=0)
    for _ in range(4):
        await module.around(exchange(), Script(whole()))
    scripts = [Script(http_failure(500), whole()) for _ in range(16)]
    outcomes = [await _outcome(module, script) for script in scripts]
    assert outcomes.count("failed") == 0


async def _outcome(module: Retry, script: Script) -> str:
    try:
        await module.around(exchange(), script)
    except CallFailed:
        return "failed"
    return "ok"


async def test_the_free_retries_come_back_with_time() -> None:
    clock = SleeplessClock()
    module = await retry(clock, max_retries=1, budget_ratio=0.0, base_delay_s=0)
    assert [await _outcome(module, Script(http_failure(500), whole())) for _ in range(11)].count("failed") == 1
    clock.now_ns += 6 * 10**9
    assert await _outcome(module, Script(http_failure(500), whole())) == "ok"
    assert await _outcome(module, Script(http_failure(500), whole())) == "failed"


async def test_the_budget_survives_a_change_of_settings() -> None:
    clock = SleeplessClock()
    old = await retry(clock, max_retries=1, budget_ratio=0.0, base_delay_s=0)
    for _ in range(10):
        await _outcome(old, Script(http_failure(500), whole()))
    new = Retry(Retry.Settings(max_retries=1, budget_ratio=0.0, base_delay_s=0))
    await new.start(core(clock), old)
    assert await _outcome(new, Script(http_failure(500), whole())) == "failed"


async def test_an_image_is_not_made_twice() -> None:
    script = Script(CallFailed("reset", target()), whole())
    with pytest.raises(CallFailed):
        await (await retry()).around(exchange(kind="images"), script)
    again = Script(CallFailed("connect", target()), whole())
    await (await retry()).around(exchange(kind="images"), again)
    asked = Script(CallFailed("reset", target()), whole())
    await (await retry(retry_side_effects=True)).around(exchange(kind="images"), asked)
    assert (script.calls, again.calls, asked.calls) == (1, 2, 2)


async def test_the_last_attempt_asks_the_cheaper_model() -> None:
    class Table:
        def resolve(self, model: str) -> list[Any]:
            return [target(model)]

    module = Retry(Retry.Settings(downgrade={"gpt-4o": "openai/gpt-4o-mini"}, base_delay_s=0), random=lambda: 0.0)
    await module.start(core(SleeplessClock(), providers=Table()), None)
    x = exchange()
    await module.around(x, Script(http_failure(500), http_failure(500), whole()))
    assert x.targets[0].label == "openai/gpt-4o-mini"
    assert trail(x, "retry")[-2] == ("downgrade", {"from": "openai/gpt-4o", "to": "openai/gpt-4o-mini"})


@pytest.mark.parametrize("status", [425, 429, 503, 529])
async def test_an_image_that_was_turned_away_unread_is_asked_for_again(status: int) -> None:
    script = Script(http_failure(status), whole())
    await (await retry()).around(exchange(kind="images"), script)
    assert script.calls == 2


async def test_a_failed_attempt_that_reported_its_usage_is_paid_for() -> None:
    class Prices:
        def of(self, asked: Any) -> Price:
            return Price(input=1_000_000, output=2_000_000)

    module = Retry(Retry.Settings(base_delay_s=0), random=lambda: 0.0)
    await module.start(core(SleeplessClock(), prices=Prices()), None)
    x = exchange()
    broken = {"choices": None, "usage": {"prompt_tokens": 100, "completion_tokens": 10}}
    await module.around(x, Script(http_failure(500, broken), http_failure(500), whole()))
    assert dict(x.cost_lines) == {"retry:input": 100_000, "retry:output": 20_000}
