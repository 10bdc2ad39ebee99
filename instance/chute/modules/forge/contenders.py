"""Several targets asked at once: who answered, how, and at what cost."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from instance.chute.answer import Answer
from instance.chute.failures import CallFailed
from instance.chute.record import estimate_usage
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import Callable

    from instance.chute.exchange import Exchange
    from instance.chute.module import Call
    from instance.chute.targets import Target

FINISHED_WELL = frozenset(("stop", "tool_calls", "function_call"))


class Contender:
    """One target of a call that several are asked for. `cost_nano` is `None` while or where it is not known."""

    __slots__ = (
        "answer",
        "branch",
        "cost_nano",
        "ended",
        "error",
        "label",
        "ok",
        "settled",
        "target",
        "task",
        "took_ns",
    )

    def __init__(self, target: Target, branch: Exchange) -> None:
        self.target = target
        self.label = target.label
        self.branch = branch
        self.task: asyncio.Task[Answer] | None = None
        self.answer: Answer | None = None
        self.error: CallFailed | StockyardError | None = None
        self.ok = False
        self.ended = False
        self.settled = False
        self.cost_nano: int | None = None
        self.took_ns = 0

    @property
    def text(self) -> str:
        """The answer's text; a call of tools counts as text too."""
        return text_of(self.answer) if self.answer is not None else ""

    @property
    def served(self) -> str:
        """Who answered: another than was asked where fallbackrouter went on."""
        target = self.answer.target if self.answer is not None else None
        return target.label if target is not None else self.label

    def reason(self) -> str:
        """Why it is not acceptable, in words."""
        if self.error is not None:
            return str(self.error)[:300]
        if not self.ended:
            return "cancelled"
        return "empty or broken off"


def text_of(answer: Answer) -> str:
    """The text of a whole answer's first choice, with the tools that it calls."""
    for choice in (answer.obj or {}).get("choices") or ():
        message = choice.get("message") or {}
        content = message.get("content")
        text = content if isinstance(content, str) else ""
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            text += f"\n{function.get('name')}({function.get('arguments')})"
        return text
    return ""


def acceptable(answer: Answer) -> bool:
    """Whether the answer is not empty and was finished; of a stream only its first content is known."""
    if answer.events is not None:
        return True
    choices = (answer.obj or {}).get("choices") or ()
    return (
        bool(choices)
        and all(choice.get("finish_reason") in FINISHED_WELL and bool(choice.get("message")) for choice in choices)
        and bool(text_of(answer).strip())
    )


async def ask_all(contenders: list[Contender], call: Call, *, needed: int, wait_s: float, timeout_s: float) -> None:
    """Ask all at once; returns when `needed` acceptable answers are in, `wait_s` after the first of them, at `timeout_s`, or
    when nobody is left. Who is not in then is cancelled, and has ended when this returns."""
    loop = asyncio.get_running_loop()
    by_task: dict[asyncio.Task[Answer], Contender] = {}
    started = perf_counter_ns()
    for contender in contenders:
        contender.task = asyncio.ensure_future(call(contender.branch))
        by_task[contender.task] = contender
    pending = set(by_task)
    until = loop.time() + timeout_s
    good = 0
    try:
        while pending and good < needed:
            done, pending = await asyncio.wait(
                pending, timeout=max(0.0, until - loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for contender in contenders:
                if contender.task in done and good < needed:
                    _take(contender, perf_counter_ns() - started)
                    if contender.ok:
                        good += 1
                        if good == 1:
                            until = min(until, loop.time() + wait_s)
    finally:
        await _end(contenders)


def _take(contender: Contender, took_ns: int) -> None:
    """Note how a task ended. A fault of our own is raised."""
    task = contender.task
    assert task is not None
    contender.ended = True
    contender.took_ns = took_ns
    error = task.exception() if not task.cancelled() else CallFailed("timeout_total", contender.target)
    if error is None:
        contender.answer = task.result()
        contender.ok = acceptable(contender.answer)
    elif isinstance(error, (CallFailed, StockyardError)):
        contender.error = error
    else:
        raise error


async def _end(contenders: list[Contender]) -> None:
    """Cancel who is still asked, and give up answers that came too late to be looked at; a whole one is paid all the same."""
    left = [contender for contender in contenders if not contender.ended and contender.task is not None]
    for contender in left:
        contender.task.cancel()  # type: ignore[union-attr]
    results = await asyncio.gather(*(one.task for one in left if one.task is not None), return_exceptions=True)
    for contender, result in zip(left, results, strict=True):
        if isinstance(result, Answer):
            if result.events is None:
                contender.answer = result
            await give_up(result)


async def give_up(answer: Answer) -> None:
    """Close an answer that nobody wants."""
    close = getattr(answer.events, "aclose", None)
    if close is not None:
        await close()
    answer.close()


def settle(contender: Contender, price: Callable[[Any], None] | None) -> None:
    """Find out what a whole answer cost; its lines are left in the branch."""
    branch, answer = contender.branch, contender.answer
    if contender.settled or answer is None or answer.events is not None:
        return
    contender.settled = True
    branch.answer = answer
    estimate_usage(branch)
    if price is not None:
        price(branch)
    contender.cost_nano = None if branch.cost_unknown or not branch.cost_lines else branch.cost_nano
