import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.modules.reliability.timeout import Timeout
from instance.core.errors import StockyardError
from tests.modules.exchanges import event, exchange, streamed, trail, whole


def timeout(**settings: Any) -> Timeout:
    return Timeout(Timeout.Settings(**settings))


class Never:
    """A call that never answers; knows whether it was given up."""

    def __init__(self) -> None:
        self.given_up = False

    async def __call__(self, x: Exchange) -> Answer:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise
        raise AssertionError


async def failure(module: Timeout, x: Exchange, call: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        await module.around(x, call)
    return caught.value


async def test_an_answer_in_time_passes_and_leaves_no_limit_behind() -> None:
    module, x, answer = timeout(), exchange(), whole()

    async def call(_: Exchange) -> Answer:
        return answer

    module.on_request(x)
    assert await module.around(x, call) is answer
    assert len(module._limits) == 0
    assert x.decisions == []


async def test_no_first_token_in_time_gives_the_attempt_up() -> None:
    module, x, call = timeout(first_token_s=0.03), exchange(), Never()
    assert (await failure(module, x, call)).kind == "timeout_first_token"
    assert call.given_up
    assert trail(x, "timeout")[0][1]["which"] == "first_token"


async def test_models_that_think_get_more_time() -> None:
    module = timeout(first_token_s=10, slow_factor=3)
    assert module._first_token_limit_s("o1-mini") == 30
    assert module._first_token_limit_s("openai/o1-mini") == 30
    assert module._first_token_limit_s("gpt-4o") == 10


async def test_the_whole_calls_limit_holds_over_attempts() -> None:
    module, x = timeout(total_s=0.03), exchange()
    module.on_request(x)
    assert (await failure(module, x, Never())).kind == "timeout_total"
    assert (await failure(module, x, Never())).kind == "timeout_total"


async def test_a_caller_may_lower_the_whole_calls_limit_and_not_raise_it() -> None:
    module = timeout(total_s=10)
    lower, higher = (
        exchange(headers={b"x-stockyard-timeout-s": b"0.5"}),
        exchange(headers={b"x-stockyard-timeout-s": b"99"}),
    )
    module.on_request(lower)
    module.on_request(higher)
    assert lower.deadline_ns - lower.started_ns == 500_000_000
    assert higher.deadline_ns - higher.started_ns == 10_000_000_000


@pytest.mark.parametrize("value", [b"", b"soon", b"0", b"-1", b"nan", b"inf"])
async def test_a_bad_limit_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(StockyardError) as caught:
        timeout().on_request(exchange(headers={b"x-stockyard-timeout-s": value}))
    assert (caught.value.code, caught.value.param) == ("bad_request", "X-Stockyard-Timeout-S")


async def test_a_hang_up_stays_a_hang_up() -> None:
    task = asyncio.create_task(timeout(first_token_s=5).around(exchange(), Never()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_stream_that_stops_is_broken_off_after_what_came() -> None:
    released = []

    async def stalling() -> AsyncIterator[list[Delta]]:
        for text in ("one", "two", "three"):
            yield [event(text)]
        await asyncio.Event().wait()

    async def call(_: Exchange) -> Answer:
        return streamed(stalling(), release=lambda: released.append(True))

    module, x = timeout(between_tokens_s=0.03), exchange(stream=True)
    answer = await module.around(x, call)
    assert answer.events is not None
    got = 0
    with pytest.raises(CallFailed) as caught:
        async for batch in answer.events:
            got += len(batch)
    assert (got, caught.value.kind, released) == (3, "timeout_stream", [True])
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    assert len(module._limits) == 0


async def test_a_caller_who_takes_a_stream_slowly_breaks_no_limit() -> None:
    async def call(_: Exchange) -> Answer:
        return streamed(["one", "two"])

    answer = await timeout(between_tokens_s=0.02).around(exchange(stream=True), call)
    assert answer.events is not None
    got = 0
    async for batch in answer.events:
        got += len(batch)
        await asyncio.sleep(0.06)
    assert got == 2


async def test_a_stream_ends_at_the_whole_calls_limit() -> None:
    async def endless() -> AsyncIterator[list[Delta]]:
        while True:
            yield [event("more ")]
            await asyncio.sleep(0.005)

    async def call(_: Exchange) -> Answer:
        return streamed(endless())

    module, x = timeout(total_s=0.05), exchange(stream=True)
    module.on_request(x)
    answer = await module.around(x, call)
    assert answer.events is not None
    with pytest.raises(CallFailed) as caught:
        async for _ in answer.events:
            pass
    assert caught.value.kind == "timeout_total"


async def test_a_stream_that_is_closed_early_leaves_no_limit_behind() -> None:
    async def call(_: Exchange) -> Answer:
        return streamed(["one", "two"])

    module = timeout()
    answer = await module.around(exchange(stream=True), call)
    events: Any = answer.events
    await anext(events)
    await events.aclose()
    assert len(module._limits) == 0


async def test_the_connect_limit_is_set_for_the_upstream_client_and_noted() -> None:
    module, x = timeout(connect_s=2), exchange()
    module.on_request(x)
    assert x.connect_timeout_s == 2

    async def call(_: Exchange) -> Answer:
        raise CallFailed("connect_timeout", x.targets[0])

    assert (await failure(module, x, call)).kind == "connect_timeout"
    assert trail(x, "timeout")[0][1]["which"] == "connect"


async def test_a_providers_own_limit_holds_for_one_attempt_and_does_not_end_the_call() -> None:
    module, x = timeout(first_token_s=5), exchange()
    x.targets[0].provider.timeout_s = 0.03
    module.on_request(x)
    assert (await failure(module, x, Never())).kind == "timeout_first_token"
    assert x.remaining_s() > 100  # type: ignore[operator]


async def test_a_providers_own_limit_ends_its_stream() -> None:
    async def endless() -> AsyncIterator[list[Delta]]:
        while True:
            yield [event("more ")]
            await asyncio.sleep(0.005)

    async def call(_: Exchange) -> Answer:
        return streamed(endless())

    module, x = timeout(), exchange(stream=True)
    x.targets[0].provider.timeout_s = 0.05
    module.on_request(x)
    answer = await module.around(x, call)
    assert answer.events is not None
    with pytest.raises(CallFailed) as caught:
        async for _ in answer.events:
            pass
    assert caught.value.kind == "timeout_total"


async def test_the_callers_own_shorter_limit_blames_nobody() -> None:
    module = timeout(total_s=10)
    asked, own = exchange(headers={b"x-stockyard-timeout-s": b"0.03"}), exchange()
    module.on_request(asked)
    assert not (await failure(module, asked, Never())).blames_target
    short = timeout(total_s=0.03)
    short.on_request(own)
    assert (await failure(short, own, Never())).blames_target


async def test_a_shim_may_give_a_model_that_loads_more_time() -> None:
    module, x = timeout(first_token_s=0.05), exchange()

    async def call(asked: Exchange) -> Answer:
        asked.state["first_token_limit"].until += 5
        await asyncio.sleep(0.15)
        return whole()

    assert await module.around(x, call)
