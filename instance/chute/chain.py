"""The chain: the modules that are on, compiled into flat tuples of bound methods, and how a call runs through them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import translate
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.matcher import Matcher
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.meter import Meter
    from instance.chute.module import Call, Module

SyncHook = Callable[..., Any]


class Link:
    """One module in a plan: the module, its counters and its place."""

    __slots__ = ("closed", "meter", "module", "name", "place")

    def __init__(self, module: Module, meter: Meter, place: int) -> None:
        self.module = module
        self.name = module.name
        self.meter = meter
        self.place = place
        self.closed = (module.settings.on_error or module.on_error) == "closed"


def _globs(patterns: Sequence[str]) -> Callable[[str], bool]:
    compiled = re.compile("|".join(translate(pattern) for pattern in patterns))
    return lambda text: compiled.match(text) is not None


def _scope(module: Module) -> Callable[[Exchange], bool] | None:
    """Where the module's `models` and `teams` let it act; `None`: everywhere."""
    models, teams = module.settings.models, module.settings.teams
    model_fits = None if "*" in models else _globs(models)
    team_fits = None if "*" in teams else _globs(teams)
    if model_fits is None and team_fits is None:
        return None

    def fits(x: Exchange) -> bool:
        return (model_fits is None or model_fits(x.model_requested)) and (team_fits is None or team_fits(x.team))

    return fits


def _within(fits: Callable[[Exchange], bool], hook: SyncHook) -> SyncHook:
    def scoped(x: Exchange, *rest: Any) -> Any:
        return hook(x, *rest) if fits(x) else None

    return scoped


def _within_async(fits: Callable[[Exchange], bool], hook: Callable[[Exchange], Awaitable[Answer | None]]) -> SyncHook:
    async def scoped(x: Exchange) -> Answer | None:
        return await hook(x) if fits(x) else None

    return scoped


class Plan:
    """The modules that are on, for one kind of call. Immutable: a toggle compiles a new plan, a call keeps its own.

    `in_flight` counts the calls that use it, so that a module is stopped only after its last call.
    """

    def __init__(self, version: int, kind: str, links: Sequence[Link], target: Call) -> None:
        self.version = version
        self.kind = kind
        self.links = tuple(link for link in links if kind in link.module.kinds)
        self.in_flight = 0
        self.retired: Callable[[], None] | None = None
        self.matcher = Matcher.build([link.module for link in self.links])
        self.target = target

        steps: list[tuple[SyncHook, Link, bool]] = []
        responses: list[tuple[SyncHook, Link]] = []
        deltas: list[tuple[SyncHook, Link]] = []
        finishes: list[tuple[SyncHook, Link]] = []
        from instance.chute.module import hooks_of  # module.py imports the exchange, which names the plan

        call: Call = self._reach
        outer: Link | None = None
        arounds: list[tuple[Link, Callable[[Exchange], bool] | None]] = []
        for link in self.links:
            module = link.module
            fits = _scope(module)
            hooks = hooks_of(type(module))
            if "on_request" in hooks:
                steps.append((_within(fits, module.on_request) if fits else module.on_request, link, False))
            if "prepare" in hooks:
                steps.append((_within_async(fits, module.prepare) if fits else module.prepare, link, True))
            if "on_response" in hooks:
                responses.append((_within(fits, module.on_response) if fits else module.on_response, link))
            if "on_delta" in hooks:
                deltas.append((_within(fits, module.on_delta) if fits else module.on_delta, link))
            if "on_finish" in hooks:
                finishes.append((_within(fits, module.on_finish) if fits else module.on_finish, link))
            if "around" in hooks:
                arounds.append((link, fits))
        self._innermost = arounds[-1][0].meter if arounds else None
        for index in range(len(arounds) - 1, -1, -1):
            link, fits = arounds[index]
            outer = arounds[index - 1][0] if index else None
            call = _contain(link, fits, outer, call)
        self.call: Call = call
        self.steps = tuple(steps)
        self.responses = tuple(reversed(responses))
        self.deltas = tuple(reversed(deltas))
        self.finishes = tuple(finishes)
        self.last_place = self.links[-1].place if self.links else -1
        self.redacts = any(link.name == "secretscan" for link in self.links)

    async def _reach(self, x: Exchange) -> Answer:
        if self._innermost is not None:
            now = perf_counter_ns()
            self._innermost.histogram.add(now - x.mark_ns)
        try:
            return await self.target(x)
        finally:
            x.mark_ns = perf_counter_ns()

    async def run(self, x: Exchange) -> Answer:
        """Take the call through `on_request` and `prepare`, then the nest of `around`. Raises `StockyardError`, `CallFailed`."""
        answer = None
        x.current_hook = "on_request"
        decisions = x.decisions
        count = len(decisions)
        before = perf_counter_ns()
        for hook, link, awaits in self.steps:
            x.reached = link.place
            x.current_module = link.name
            try:
                if awaits:
                    x.current_hook = "prepare"
                    answer = await hook(x)
                    x.current_hook = "on_request"
                else:
                    answer = hook(x)
            except StockyardError as error:
                refuse(x, link, error)
                raise
            except CallFailed:
                raise
            except Exception as error:  # the module's own failure: recorded in the trail, then open or closed
                fail(x, link, error)
            now = perf_counter_ns()
            link.meter.histogram.add(now - before)
            if len(decisions) != count:
                _timed(x, link, count, now - before)
                count = len(decisions)
            before = now
            if answer is not None:
                break
        if answer is None:
            x.reached = self.last_place
            x.current_hook = "around"
            x.mark_ns = before
            answer = await self.call(x)
        x.answer = answer
        return answer

    def respond(self, x: Exchange, answer: Answer) -> None:
        """The whole answer through `on_response`, innermost first. Raises `StockyardError` when a module refuses it."""
        x.current_hook = "on_response"
        decisions = x.decisions
        count = len(decisions)
        before = perf_counter_ns()
        for hook, link in self.responses:
            x.current_module = link.name
            try:
                hook(x, answer)
            except StockyardError as error:
                refuse(x, link, error)
                raise
            except Exception as error:  # the module's own failure: recorded in the trail, then open or closed
                fail(x, link, error)
            now = perf_counter_ns()
            link.meter.histogram.add(now - before)
            if len(decisions) != count:
                _timed(x, link, count, now - before)
                count = len(decisions)
            before = now

    def delta(self, x: Exchange, delta: Delta) -> None:
        """One event of a stream through `on_delta`, innermost first. Raises `StockyardError` when a module ends the stream."""
        decisions = x.decisions
        count = len(decisions)
        x.current_hook = "on_delta"
        before = perf_counter_ns()
        for hook, link in self.deltas:
            if x.skipped is not None and link.name in x.skipped:
                continue
            x.current_module = link.name
            try:
                hook(x, delta)
            except StockyardError as error:
                refuse(x, link, error)
                raise
            except Exception as error:  # the module's own failure: recorded in the trail, then open or closed
                x.skipped = (x.skipped or set()) | {link.name}
                fail(x, link, error)
            now = perf_counter_ns()
            meter = link.meter
            meter.delta_ns += now - before
            meter.delta_calls += 1
            if len(decisions) != count:
                _timed(x, link, count, now - before)
                count = len(decisions)
            before = now

    def finish(self, x: Exchange) -> None:
        """`on_finish` of every module that was reached, in order; never raises."""
        x.current_hook = "on_finish"
        decisions = x.decisions
        count = len(decisions)
        before = perf_counter_ns()
        reached = x.reached
        for link in self.links:
            if link.place > reached:
                break
            link.meter.calls += 1
        for hook, link in self.finishes:
            if link.place > reached:
                break
            x.current_module = link.name
            try:
                hook(x)
            except Exception as error:  # recorded; at the end of a call there is nothing left to refuse
                record_failure(x, link, error)
            now = perf_counter_ns()
            link.meter.histogram.add(now - before)
            if len(decisions) != count:
                _timed(x, link, count, now - before)
                count = len(decisions)
            before = now


def _contain(link: Link, fits: Callable[[Exchange], bool] | None, outer: Link | None, inner: Call) -> Call:
    """The module's `around` over `inner`, with its own time measured and its own failures contained.

    Own time is what passes while neither the module inside nor the one outside runs: at each crossing the time since
    the last crossing goes to whom it belongs.
    """
    around = link.module.around
    add = link.meter.histogram.add
    add_outer = outer.meter.histogram.add if outer is not None else None
    name = link.name

    async def contained(x: Exchange) -> Answer:
        if fits is not None and not fits(x):
            return await inner(x)
        count = len(x.decisions)
        now = perf_counter_ns()
        if add_outer is not None:
            add_outer(now - x.mark_ns)
        x.mark_ns = now
        x.current_module = name
        x.answer = None
        try:
            answer = await around(x, inner)
        except (StockyardError, CallFailed):
            x.mark_ns = perf_counter_ns()
            raise
        except Exception as error:  # the module's own failure: recorded in the trail, then open or closed
            had = x.answer
            fail(x, link, error)
            return had if had is not None else await inner(x)
        now = perf_counter_ns()
        add(now - x.mark_ns)
        if len(x.decisions) != count:
            link.meter.changed += 1
            for decision in x.decisions[count:]:
                if decision["module"] == name and not decision["took_ns"]:
                    decision["took_ns"] = now - x.mark_ns
        x.mark_ns = now
        x.answer = answer
        return answer

    return contained


def _timed(x: Exchange, link: Link, since: int, took_ns: int) -> None:
    link.meter.changed += 1
    for decision in x.decisions[since:]:
        decision["took_ns"] = took_ns
    if link.module.safety:
        x.safety_count += len(x.decisions) - since


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
