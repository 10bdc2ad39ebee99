"""Several choices from a provider that gives one an answer: as many calls at the same time, joined into one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from instance.chute.answer import DONE, JSON, Answer, Delta
from instance.chute.attempt import Attempt
from instance.chute.exchange import Exchange
from instance.chute.stream import encode_event

BLOCKS_MAX = 8
"""Blocks of the branches' streams that wait for the caller; then the branches wait."""
_HEAD = ("id", "created", "model")

Ask = Callable[[Exchange, Attempt], Awaitable[Answer]]


async def joined_choices(x: Exchange, attempt: Attempt, wanted: int, ask: Ask) -> Answer:
    """The answers of `wanted` calls to `ask` as one answer with as many choices, usage summed: each call is paid for.

    The first runs as the given attempt, the others as branches with attempts of their own. When one fails the others are
    given up and its failure is raised.
    """
    target = attempt.target
    branches = [x.branch([target]) for _ in range(wanted - 1)]

    async def of_branch(branch: Exchange) -> Answer:
        branch.provider_key = x.provider_key
        own = Attempt(branch, target)
        own.base_url = attempt.base_url
        return await own.run(lambda its: ask(branch, its))

    tasks = [asyncio.ensure_future(ask(x, attempt)), *(asyncio.ensure_future(of_branch(one)) for one in branches)]
    try:
        answers = await asyncio.gather(*tasks)
    except BaseException:
        await _give_up(tasks)
        raise
    finally:
        for branch in branches:
            x.absorb(branch, served=False)
    first = answers[0]
    if not x.stream:
        obj = _joined([answer.obj or {} for answer in answers])
        if obj.get("usage"):
            x.usage.take(obj["usage"])
        return Answer(headers=first.headers, obj=obj, target=target, native="")

    def release() -> None:
        for answer in answers:
            answer.close()

    return Answer(headers=first.headers, events=_merged(answers), target=target, release=release)


async def _give_up(tasks: Sequence[asyncio.Future[Answer]]) -> None:
    for task in tasks:
        task.cancel()
    for done in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(done, Answer):
            done.close()


def _joined(answers: list[JSON]) -> JSON:
    choices = [
        {**choice, "index": index}
        for index, choice in enumerate(choice for answer in answers for choice in answer["choices"][:1])
    ]
    joined = {**answers[0], "choices": choices}
    usages = [answer["usage"] for answer in answers if isinstance(answer.get("usage"), dict)]
    if usages:
        joined["usage"] = summed(usages)
    return joined


def summed(usages: list[JSON]) -> JSON:
    """The counts of several usage objects added up, in nested objects too; what is no number is the first's."""
    total: JSON = {}
    for usage in usages:
        for name, value in usage.items():
            if isinstance(value, dict):
                total[name] = summed([total.get(name) or {}, value])
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                total[name] = (total.get(name) or 0) + value
            else:
                total.setdefault(name, value)
    return total


async def _merged(answers: list[Answer]) -> AsyncIterator[list[Delta]]:
    """The branches' events as they come, with one id, each branch under an index of its own."""
    waiting: asyncio.Queue[tuple[int, list[Delta] | BaseException | None]] = asyncio.Queue(BLOCKS_MAX)
    pumps = [asyncio.ensure_future(_pump(place, answer, waiting)) for place, answer in enumerate(answers)]
    head: JSON = {}
    usages: list[JSON] = []
    left = len(pumps)
    try:
        while left:
            place, events = await waiting.get()
            if isinstance(events, BaseException):
                raise events
            if events is None:
                left -= 1
                continue
            out = [delta for event in events if (delta := _of_branch(event, place, head, usages)) is not None]
            if out:
                yield out
        last: list[Delta] = []
        if usages:
            last.append(_delta({**head, "object": "chat.completion.chunk", "choices": [], "usage": summed(usages)}))
        yield [*last, Delta(DONE, None)]
    finally:
        for pump in pumps:
            pump.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*pumps, return_exceptions=True)
        for answer in answers:
            answer.close()


async def _pump(place: int, answer: Answer, waiting: asyncio.Queue[Any]) -> None:
    try:
        if answer.events is not None:
            async for events in answer.events:
                await waiting.put((place, events))
        await waiting.put((place, None))
    except asyncio.CancelledError:
        raise
    except Exception as error:  # raised again where the streams are joined
        await waiting.put((place, error))


def _of_branch(event: Delta, place: int, head: JSON, usages: list[JSON]) -> Delta | None:
    obj = event.obj
    if obj is None:
        return None
    if not head:
        head.update({name: obj[name] for name in _HEAD if name in obj})
    if isinstance(obj.get("usage"), dict):
        usages.append(obj["usage"])
    if not obj.get("choices"):
        return None
    choices = [{**choice, "index": place} for choice in obj["choices"][:1]]
    return _delta({**{name: value for name, value in obj.items() if name != "usage"}, **head, "choices": choices})


def _delta(obj: JSON) -> Delta:
    return Delta(encode_event(obj), obj)
