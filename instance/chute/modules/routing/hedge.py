"""Two targets asked for one call: the second when the first has not begun to answer in time; the first content wins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from time import perf_counter_ns
from typing import TYPE_CHECKING

from instance.chute.failures import CallFailed
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.answer import Answer, Delta
    from instance.chute.exchange import Exchange
    from instance.chute.module import Call
    from instance.chute.targets import Target

Failure = CallFailed | StockyardError


class Race:
    """What became of a hedged call: who answered, who else was asked, and how those failed that did."""

    __slots__ = ("answer", "failures", "second_asked", "served")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.served: Target | None = None
        self.failures: list[tuple[Target, Failure]] = []
        self.second_asked = False


async def race(x: Exchange, call: Call, first: Target, second: Target, after_s: float) -> Race:
    """Ask `first`, and `second` too when nothing came after `after_s` seconds; who loses is cancelled.

    A first that fails before that is the caller's to deal with: `second` is then not asked. Other errors than those of an
    attempt are raised.
    """
    outcome = Race()
    began = perf_counter_ns()
    upstream_before = x.upstream_ns
    branches: dict[asyncio.Task[Answer], tuple[Exchange, Target]] = {}

    def ask(target: Target) -> None:
        branch = x.branch([target])
        branches[asyncio.ensure_future(call(branch))] = (branch, target)

    winner: asyncio.Task[Answer] | None = None
    try:
        ask(first)
        waiting = set(branches)
        done, waiting = await asyncio.wait(waiting, timeout=after_s)
        if not done:
            outcome.second_asked = True
            ask(second)
            waiting = set(branches)
        while winner is None and (done or waiting):
            if not done:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=list(branches).index):
                error = task.exception()
                if error is None and winner is None:
                    winner = task
                elif isinstance(error, (CallFailed, StockyardError)):
                    outcome.failures.append((branches[task][1], error))
                elif error is not None:
                    raise error
            done = set()
    finally:
        await _end_losers(branches, winner)
        for task, (branch, _) in branches.items():
            x.absorb(branch, served=task is winner)
        x.upstream_ns = upstream_before + perf_counter_ns() - began
        x.mark_ns = perf_counter_ns()
    if winner is not None:
        branch, target = branches[winner]
        answer = winner.result()
        # From here on the branch's state is the call's: what its stream looks up there is what the call's hooks set.
        x.state.update(branch.state)
        branch.state = x.state
        x.provider_key = branch.provider_key
        if answer.events is not None:
            answer.events = _followed(x, branch, answer.events)
        outcome.answer = answer
        outcome.served = target
    return outcome


async def _end_losers(branches: dict[asyncio.Task[Answer], tuple[Exchange, Target]], winner: object) -> None:
    for task in branches:
        if task is not winner:
            task.cancel()
    for task in branches:
        if task is not winner:
            with suppress(asyncio.CancelledError, CallFailed, StockyardError):
                answer = await task
                answer.close()


async def _followed(x: Exchange, branch: Exchange, events: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
    """The winner's events; the time that its provider takes is the call's."""
    seen = branch.upstream_ns
    try:
        async for batch in events:
            x.upstream_ns += branch.upstream_ns - seen
            seen = branch.upstream_ns
            yield batch
    finally:
        x.upstream_ns += branch.upstream_ns - seen
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()
