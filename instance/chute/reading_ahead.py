"""Long requests are read beside the event loop before the modules that look into texts: some milliseconds, up to a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from instance.chute.containment import Fits, Link, scope_of
from instance.chute.exchange import Exchange
from instance.chute.matcher import Matcher
from instance.chute.meter import Meter
from instance.chute.module import Module
from instance.chute.text import request_texts

THREADS = 2
"""They are not the loop's own, which look up addresses."""
_threads = ThreadPoolExecutor(THREADS, "read")

Readers = Sequence[tuple[Module, Fits | None]]
Step = tuple[Callable[..., Any], Link, bool]
"""A hook before the call, whose it is, and whether it is `prepare`."""


def reading_ahead(steps: tuple[Step, ...], matcher: Matcher | None) -> tuple[Step, ...]:
    """The same steps, and before each whose module may ask what is in the texts one that reads long ones that are new by then.

    So a call that was refused before costs no reading. Such a step goes by the name of that module; its time is not the module's.
    """
    if matcher is None:
        return steps
    made: list[Step] = []
    for index, step in enumerate(steps):
        link = step[1]
        if matcher.looks_for(link.name) and not link.module.defers_look:
            rest = dict.fromkeys(each[1].module for each in steps[index:])
            readers = tuple(
                (module, scope_of(module)) for module in rest if type(module).read_ahead is not Module.read_ahead
            )
            made.append((partial(_read_ahead, matcher, readers), Link(link.module, Meter(), link.place), True))
        made.append(step)
    return tuple(made)


def _read_ahead(matcher: Matcher, readers: Readers, x: Exchange) -> Coroutine[Any, Any, None] | None:
    """Read what is new and long; `None`: nothing is."""
    texts = matcher.must_read(request_texts(x.req))
    return _read_beside(matcher, readers, x, texts) if texts else None


async def _read_beside(matcher: Matcher, readers: Readers, x: Exchange, texts: list[str]) -> None:
    await asyncio.get_running_loop().run_in_executor(_threads, _read, matcher, readers, x, texts)


def _read(matcher: Matcher, readers: Readers, x: Exchange, texts: list[str]) -> None:
    hits = matcher.read(texts)
    for module, fits in readers:
        try:
            if fits is None or fits(x):
                module.read_ahead(x, matcher.of(module.name, hits))
        except Exception:  # noqa: S112 - what it fails on, its hook fails on too, where it is contained and told
            continue
