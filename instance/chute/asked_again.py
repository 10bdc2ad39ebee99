"""One call asked several times by an `around`, until an answer is good: every attempt is paid, one is delivered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.modules.caching.stream_replay import replay
from instance.chute.record import estimate_usage
from instance.chute.usage import Usage

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.chute.module import Call
    from instance.chute.modules.caching.keep import Keep
    from instance.chute.targets import Target
    from instance.core.clock import Clock


OPEN_AFTER_S = 5.0
"""After so long a stream is opened whose answer is not there yet: less than the silence after which it is kept alive."""
Before = tuple[Any, ...]
"""What a call was before it went on, so that what it then left can be split off as an attempt of its own."""

_FIELDS = ("req", "changed", "unscanned", "provider_key", "cost_unknown", "waited_ns", "tags", "targets", "state")
_LISTS = ("cost_lines", "response_headers", "warnings", "decisions", "upstream_headers")


def before_attempt(x: Exchange) -> Before | None:
    """Taken before the call itself is made as the first attempt; `None` where it cannot be: the call was made before."""
    if x.attempts or x.usage.source:
        return None
    return (
        (
            x.req,
            x.changed,
            x.unscanned,
            x.provider_key,
            x.cost_unknown,
            x.waited_ns,
            x.tags,
            x.targets[:],
            x.state.copy(),
        ),
        (len(x.cost_lines), len(x.response_headers), len(x.warnings), len(x.decisions), len(x.upstream_headers)),
    )


@dataclass(slots=True)
class Asked:
    """One attempt and its whole answer."""

    number: int
    branch: Exchange
    answer: Answer

    @property
    def text(self) -> str:
        """The text of the first choice."""
        for choice in (self.answer.obj or {}).get("choices") or ():
            content = (choice.get("message") or {}).get("content")
            return content if isinstance(content, str) else ""
        return ""

    @property
    def finish_reason(self) -> str:
        """How the first choice ended."""
        for choice in (self.answer.obj or {}).get("choices") or ():
            return str(choice.get("finish_reason") or "")
        return ""


class AskedAgain:
    """The attempts of one call. `ask` makes one, `deliver` ends with one of them; what raises in between is paid all the same.

    Attempts are whole, whatever the caller asked for; a caller who streams gets the delivered one as a stream.
    """

    def __init__(self, x: Exchange, call: Call, module: str, price: Callable[[Any], None] | None, clock: Clock) -> None:
        self._x = x
        self._call = call
        self._module = module
        self._price = price
        self._clock = clock
        self.attempts: list[Asked] = []

    async def ask(self, req: JSON | None = None, targets: Sequence[Target] | None = None) -> Asked:
        """One attempt, with another request or other targets if given. Raises what the call raises."""
        x = self._x
        branch = x.branch(list(targets) if targets is not None else x.targets[:])
        branch.stream = False
        body = x.req if req is None else req
        if x.stream or req is not None:
            branch.req = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
            branch.changed = True
        try:
            with x.elsewhere():
                answer = await self._call(branch)
        except BaseException:
            self._pay(branch)
            x.absorb(branch, served=False)
            raise
        branch.answer = answer
        asked = Asked(len(self.attempts) + 1, branch, answer)
        self.attempts.append(asked)
        return asked

    def took(self, before: Before, answer: Answer) -> Asked:
        """The call itself, made without `ask`, as the first attempt: what it left is that attempt's, and the call is as it was."""
        x = self._x
        fields, lengths = before
        branch = x.branch(x.targets)
        for name, value in zip(_FIELDS, fields, strict=True):
            setattr(branch, name, getattr(x, name))
            setattr(x, name, value)
        branch.waited_ns -= x.waited_ns
        for name, length in zip(_LISTS, lengths, strict=True):
            of_call = getattr(x, name)
            setattr(branch, name, of_call[length:])
            del of_call[length:]
        branch.attempts, x.attempts = x.attempts, []
        branch.usage, x.usage = x.usage, Usage()
        branch.upstream_ns, x.upstream_ns = x.upstream_ns, 0
        branch.first_token_ns, x.first_token_ns = x.first_token_ns, 0
        branch.answer, x.answer = answer, None
        x.dialect_out = ""
        x._counted = None
        asked = Asked(1, branch, answer)
        self.attempts.append(asked)
        return asked

    def deliver(self, chosen: Asked) -> Answer:
        """Its answer, for this caller; the other attempts' costs are added under the module's name."""
        self._settle(chosen)
        x, answer = self._x, chosen.answer
        x.answer = answer
        if x.stream and answer.obj is not None:
            return Answer(headers=answer.headers, events=replay(answer.obj, self._clock, 0), target=answer.target)
        return answer

    def give_up(self) -> None:
        """No attempt is delivered: all of them are paid."""
        self._settle(None)

    def streamed(self, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """An answer that is made while its stream is already open, so that the caller is kept waiting in comfort."""
        return Answer(events=self._made(work), target=self._x.targets[0] if self._x.targets else None)

    async def soon(self, work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """The answer, if it is there within `OPEN_AFTER_S`, or raises what it failed with: a caller is then told by the status, and
        by headers. One that takes longer is made while its stream is open."""
        x = self._x
        task = asyncio.create_task(work())
        try:
            with x.elsewhere():
                await asyncio.wait((task,), timeout=OPEN_AFTER_S)
        except BaseException:
            await _given_up(task)
            raise
        x.mark_ns = perf_counter_ns()
        if task.done():
            return task.result()
        answer = self.streamed(lambda: _awaited(task))
        answer.release = task.cancel
        return answer

    async def _made(self, work: Callable[[], Awaitable[Answer]]) -> AsyncIterator[list[Delta]]:
        answer = await work()
        if answer.events is None:
            assert answer.obj is not None
            answer.events = replay(answer.obj, self._clock, 0)
        async for batch in answer.events:
            yield batch

    def _settle(self, chosen: Asked | None) -> None:
        x = self._x
        for asked in self.attempts:
            served = asked is chosen
            if not served:
                self._pay(asked.branch, asked.number)
                keep: Keep[Any] | None = asked.branch.state.get("cachelayer")
                if keep is not None and keep is not x.state.get("cachelayer"):
                    keep.fail()  # what is not delivered is not kept: who waits for it would wait for ever
            else:
                asked.branch.cost_lines = []  # priced with the call, from the usage taken over here
                x.state.update(asked.branch.state)
            x.absorb(asked.branch, served=served)
        self.attempts = []

    def _pay(self, branch: Exchange, number: int = 0) -> None:
        """Price an attempt that is not delivered."""
        if branch.answer is None and not branch.usage.source:
            return
        estimate_usage(branch)
        branch.cost_lines = []
        if self._price is not None:
            self._price(branch)
        name = f"{self._module}:{number or len(self.attempts) + 1}"
        branch.cost_lines = [(f"{name}:{line}", nano) for line, nano in branch.cost_lines]


async def _awaited(task: asyncio.Task[Answer]) -> Answer:
    try:
        return await task
    finally:
        await _given_up(task)


async def _given_up(task: asyncio.Task[Answer]) -> None:
    """Return when the task is over."""
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
