"""A module in a plan: where it acts, and how what it does, refuses and breaks is recorded and contained."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import translate
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from instance.chute.answer import Answer
from instance.chute.embedding.late import ACTION as NOT_EMBEDDED
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.meter import Meter
    from instance.chute.module import Call, Module

SyncHook = Callable[..., Any]
Fits = Callable[[Exchange], bool]
"""Whether a module's `models` and `teams` let it act on a call."""

TEXT_KINDS = ("chat", "completions")


class ModuleHung(Exception):
    """The module's own failure: it waited longer than its `hang_s`."""


class WrongAnswer(Exception):
    """The module's own failure: what it returned is no answer to the call."""


class Link:
    """One module in a plan: the module, its counters and its place."""

    __slots__ = ("closed", "hang_ns", "meter", "module", "name", "passes", "place")

    def __init__(self, module: Module, meter: Meter, place: int) -> None:
        self.module = module
        self.name = module.name
        self.meter = meter
        self.place = place
        from instance.chute.module import Module  # module.py imports the exchange, which names what is here

        self.passes = type(module).passes is not Module.passes
        self.hang_ns = round(module.hang_s * 1e9)
        self.closed = (module.settings.on_error or module.on_error) == "closed"


def _globs(patterns: Sequence[str]) -> Callable[[str], bool]:
    compiled = re.compile("|".join(translate(pattern) for pattern in patterns))
    return lambda text: compiled.match(text) is not None


def scope_of(module: Module) -> Callable[[Exchange], bool] | None:
    """Where the module's `models` and `teams` let it act; `None`: everywhere."""
    models, teams = module.settings.models, module.settings.teams
    model_fits = None if "*" in models else _globs(models)
    team_fits = None if "*" in teams else _globs(teams)
    if model_fits is None and team_fits is None:
        return None

    def fits(x: Exchange) -> bool:
        return (model_fits is None or model_fits(x.model_requested)) and (team_fits is None or team_fits(x.team))

    return fits


def within(fits: Callable[[Exchange], bool], hook: SyncHook) -> SyncHook:
    def scoped(x: Exchange, *rest: Any) -> Any:
        return hook(x, *rest) if fits(x) else None

    return scoped


def check_answer(x: Exchange, answer: object) -> None:
    """Raise `WrongAnswer` for what a module gave as the call's answer and cannot be sent as one."""
    if not isinstance(answer, Answer):
        raise WrongAnswer(f"{type(answer).__name__} instead of an Answer")
    if answer.events is None and answer.body is None and type(answer.obj) is not dict:
        raise WrongAnswer("an Answer that holds neither an object, a body nor events")
    if x.kind in TEXT_KINDS and answer.status == 200 and (answer.events is not None) != x.stream:
        raise WrongAnswer("a stream for a whole call" if answer.events is not None else "a whole answer for a stream")


def hangs(x: Exchange, link: Link) -> bool:
    """Called on `CancelledError`: whether the call was cancelled only because this module hangs. That is then taken back."""
    if x.hung is not link:
        return False
    x.hung = None
    task = asyncio.current_task()
    return task is not None and task.uncancel() == 0


def hung(link: Link) -> ModuleHung:
    return ModuleHung(f"it waited for longer than {link.hang_ns / 1e9:g} s")


def contain(link: Link, fits: Callable[[Exchange], bool] | None, inner: Call) -> Call:
    """The module's `around` over `inner`, with its own time measured and its own failures contained.

    Own time is what passes while neither a module inside nor one outside runs: at each crossing the time since the last
    crossing goes to `x.owner`, whose it was.
    """
    around = link.module.around
    name = link.name
    histogram = link.meter.histogram

    async def contained(x: Exchange) -> Answer:
        if fits is not None and not fits(x):
            return await inner(x)
        count = len(x.decisions)
        outer = x.owner
        now = perf_counter_ns()
        if outer is not None and x.sampled:
            outer.add(now - x.mark_ns)
        x.mark_ns = now
        x.owner = histogram
        x.current_module = name
        x.answer = None
        outside = x.running
        x.running = link
        try:
            answer = await around(x, inner)
            if answer is not x.answer:
                check_answer(x, answer)
        except CallFailed:
            x.mark_ns = perf_counter_ns()
            x.owner = outer
            raise
        except StockyardError as error:
            if not error.module and not error.unowned:
                error.module = name
            x.mark_ns = perf_counter_ns()
            x.owner = outer
            raise
        except asyncio.CancelledError:
            if not hangs(x, link):
                raise
            x.owner = outer
            return await _without(x, link, hung(link), inner)
        except Exception as error:  # the module's own failure: recorded in the trail, then open or closed
            x.owner = outer
            return await _without(x, link, error, inner)
        finally:
            x.running = outside
            if outside is not None:
                x.current_module = outside.name
        now = perf_counter_ns()
        if x.sampled:
            histogram.add(now - x.mark_ns)
        if len(x.decisions) != count:
            link.meter.changed += 1
            for decision in x.decisions[count:]:
                if decision["module"] == name and not decision["took_ns"]:
                    decision["took_ns"] = now - x.mark_ns
        x.mark_ns = now
        x.owner = outer
        x.answer = answer
        return answer

    if not link.passes:
        return contained
    passes = link.module.passes

    def passed_or_contained(x: Exchange) -> Awaitable[Answer]:
        try:
            passed = passes(x)
        except Exception:  # what it fails on, `around` fails on too, where it is contained
            passed = False
        return inner(x) if passed else contained(x)

    return passed_or_contained


async def _without(x: Exchange, link: Link, error: Exception, inner: Call) -> Answer:
    """The answer that the failed module already had from further in, else the call without it. Raises `module_failed`."""
    had = x.answer
    fail(x, link, error)
    return had if had is not None else await inner(x)


def timed(x: Exchange, link: Link, since: int, took_ns: int) -> None:
    link.meter.changed += 1
    for decision in x.decisions[since:]:
        decision["took_ns"] = took_ns
    if link.module.safety:
        for decision in x.decisions[since:]:
            x.safety_count += decision["action"] != NOT_EMBEDDED


def refuse(x: Exchange, link: Link, error: StockyardError) -> None:
    """A module refused the call: say who, and leave it in the trail."""
    link.meter.blocked += 1
    if not error.module:
        error.module = link.name
    if link.module.safety:
        x.safety_count += 1
    x.note("reject", {"code": error.code}, module=link.name)


def record_failure(x: Exchange, link: Link, error: Exception) -> None:
    """Count a module's own failure and leave it in the trail."""
    meter = link.meter
    meter.errors += 1
    meter.last_error = f"{type(error).__name__}: {error}"[:500]
    x.note(
        "module_error",
        {"error": type(error).__name__, "on_error": "closed" if link.closed else "open"},
        module=link.name,
    )


def fail(x: Exchange, link: Link, error: Exception) -> None:
    """Contain a module's own failure: return when it fails open, raise `module_failed` when it fails closed."""
    record_failure(x, link, error)
    if link.closed:
        raise StockyardError(
            "module_failed",
            f"The module {link.name!r} failed and is set to refuse calls then; its error is in the module list.",
            module=link.name,
        ) from error
