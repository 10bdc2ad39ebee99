"""The time that a whole call to a provider may take (`timeout_s`), kept also where the module timeout does not act."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from instance.chute.targets import Target

KIND = "timeout_total"
KEPT = "provider_limit"
"""Set in `x.state` while the limit runs."""


async def within(x: Exchange, target: Target, seconds: float, call: Callable[[Exchange], Awaitable[Answer]]) -> Answer:
    """`await call(x)`, given up after `seconds`; a stream too. Raises `CallFailed` of the kind `timeout_total`."""
    end = asyncio.get_running_loop().time() + seconds
    x.state[KEPT] = True
    try:
        async with asyncio.timeout_at(end):
            answer = await call(x)
    except TimeoutError:
        raise _late(x, target) from None
    finally:
        del x.state[KEPT]
    if answer.events is not None:
        answer.events = _watched(x, target, answer, answer.events, end)
    return answer


async def _watched(
    x: Exchange, target: Target, answer: Answer, source: AsyncIterator[list[Delta]], end: float
) -> AsyncIterator[list[Delta]]:
    async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
        while True:
            try:
                async with asyncio.timeout_at(end):
                    batch = await anext(events)
            except StopAsyncIteration:
                return
            except TimeoutError:
                answer.close()
                raise _late(x, target) from None
            yield batch


def _late(x: Exchange, target: Target) -> CallFailed:
    if x.attempts and x.attempts[-1]["error"] == "cancelled":
        x.attempts[-1]["error"] = KIND
    return CallFailed(KIND, target)
