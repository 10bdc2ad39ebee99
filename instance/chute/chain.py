"""The chain: the modules that are on, compiled into flat tuples of bound methods, and how a call runs through them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.containment import (
    Fits,
    Link,
    SyncHook,
    WrongAnswer,
    check_answer,
    contain,
    fail,
    hangs,
    hung,
    record_failure,
    refuse,
    scope_of,
    timed,
    within,
)
from instance.chute.delta_hooks import DeltaHooks
from instance.chute.delta_text import plain_part
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.matcher import LONG_CHARS, Matcher
from instance.chute.meter import Finished
from instance.chute.reading_ahead import Step, reading_ahead
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.module import Call, Module


ShimLink = tuple[Link, Fits | None]
LoadShim = Callable[[str, str], Awaitable[ShimLink | None]]
"""`(dialect, kind of call)`."""

INNER_GROUP = 11
"""From this group on modules reach a target and speak its language: all that a module's own sub-request passes through."""

SAMPLE_MASK = 7
"""Of eight calls the first fills the modules' histograms of time: quantiles need no more, and counting costs."""


def matchers_of(modules: Sequence[Module], before: Plan | None) -> tuple[Matcher | None, Matcher | None]:
    """What scans the requests and the answers for a plan of these modules, in the place of another plan. Takes up to a second where
    there is something new to look for; may be called on any thread."""
    matcher = Matcher.build(modules, before=before.matcher if before is not None else None)
    of_answers = before.answer_matcher if before is not None else None
    return matcher, Matcher.build(modules, of_answers=True, beside=matcher, before=of_answers)


class Plan:
    """The modules that are on, for one kind of call. Immutable: a toggle compiles a new plan, a call keeps its own.

    `in_flight` counts the calls that use it, so that a module is stopped only after its last call.
    """

    def __init__(
        self,
        version: int,
        kind: str,
        links: Sequence[Link],
        target: Call,
        load_shim: LoadShim | None = None,
        before: Plan | None = None,
    ) -> None:
        """`before`: the plan whose place it takes."""
        from instance.chute.shim import Shim  # shim.py imports the module, that the exchange, which names the plan

        self.version = version
        self.kind = kind
        of_kind = [link for link in links if kind in link.module.kinds]
        self.links = tuple(link for link in of_kind if not isinstance(link.module, Shim))
        self.shims: dict[str, ShimLink] = {
            link.module.dialect: (link, scope_of(link.module)) for link in of_kind if isinstance(link.module, Shim)
        }
        self._load_shim = load_shim
        self.in_flight = 0
        self.started = 0
        self.retired: Callable[[], None] | None = None
        self.matcher, self.answer_matcher = matchers_of([link.module for link in self.links], before)
        """For answers, of which few modules ask."""
        self.target = target

        steps: list[Step] = []
        responses: list[tuple[SyncHook, Link]] = []
        deltas: list[tuple[SyncHook, Link]] = []
        finishes: list[tuple[SyncHook, Link]] = []
        call: Call = self._reach
        arounds: list[tuple[Link, Callable[[Exchange], bool] | None]] = []
        for link in self.links:
            module = link.module
            fits = scope_of(module)
            hooks = module.hooks()
            if "on_request" in hooks:
                steps.append((within(fits, module.on_request) if fits else module.on_request, link, False))
            if "prepare" in hooks:
                steps.append((within(fits, module.prepare) if fits else module.prepare, link, True))
            if "on_response" in hooks:
                responses.append((within(fits, module.on_response) if fits else module.on_response, link))
            if "on_delta" in hooks:
                deltas.append((within(fits, module.on_delta) if fits else module.on_delta, link))
            if "on_finish" in hooks:
                finishes.append((within(fits, module.on_finish) if fits else module.on_finish, link))
            if "around" in hooks:
                arounds.append((link, fits))
        self.inner: Call = call
        for index in range(len(arounds) - 1, -1, -1):
            link, fits = arounds[index]
            call = contain(link, fits, call)
            if link.module.group >= INNER_GROUP:
                self.inner = call
        self.call: Call = call
        self.steps = tuple(steps)
        self.whole_steps = tuple(step for step in steps if "on_request" not in step[1].module.streams_only or step[2])
        self.long_steps = reading_ahead(self.steps, self.matcher), reading_ahead(self.whole_steps, self.matcher)
        """For long requests: of streams, of whole calls."""
        self.responses = tuple(reversed(responses))
        self.deltas = DeltaHooks(tuple(reversed(deltas)))
        self.finishes = tuple(finishes)
        self.whole_finishes = tuple(step for step in finishes if "on_finish" not in step[1].module.streams_only)
        self.last_place = self.links[-1].place if self.links else -1
        shaper = next((link for link in self.links if link.name == "errornorm"), None)
        self.shaper = (shaper, scope_of(shaper.module)) if shaper is not None else None
        """Who makes the caller's error of a failed attempt, and on which calls."""
        self.fills_model = any(link.module.fills_model for link in self.links)
        self.fills_template = any(link.module.fills_template for link in self.links)
        self.redacts = any(link.name == "secretscan" for link in self.links)
        self._finished = Finished()
        for link in self.links:
            link.meter.count_in(self, self._finished, link.place)

    def shape(self, x: Exchange, failure: CallFailed) -> StockyardError | None:
        """The caller's error for a failed attempt by errornorm; `None` when it is off, or does not act here, or failed itself."""
        if self.shaper is None:
            return None
        link, fits = self.shaper
        if fits is not None and not fits(x):
            return None
        try:
            error: StockyardError = link.module.shape(x, failure)  # type: ignore[attr-defined]
        except (
            Exception
        ) as problem:  # the module's own failure: recorded in the trail; the core has an error of its own
            record_failure(x, link, problem)
            return None
        link.meter.changed += 1
        return error

    async def shim(self, dialect: str) -> ShimLink | None:
        """What speaks a provider's dialect; one that no call needed before is loaded now. `None` when it is off."""
        found = self.shims.get(dialect)
        if found is None and self._load_shim is not None:
            found = await self._load_shim(dialect, self.kind)
        return found

    async def _reach(self, x: Exchange) -> Answer:
        """The innermost step. It sets `x.mark_ns` when it is over: from there on time belongs to the modules again."""
        if x.sampled and x.owner is not None:
            x.owner.add(perf_counter_ns() - x.mark_ns)
        running = x.running
        x.running = None
        try:
            answer = x.answer = await self.target(x)
        except StockyardError as error:
            error.unowned = not error.module
            raise
        finally:
            x.running = running
        return answer

    async def run(self, x: Exchange) -> Answer:
        """Take the call through `on_request` and `prepare`, then the nest of `around`. Raises `StockyardError`, `CallFailed`."""
        answer = None
        sampled = x.sampled = not self.started & SAMPLE_MASK
        self.started += 1
        x.current_hook = "on_request"
        decisions = x.decisions
        count = len(decisions)
        before = perf_counter_ns()
        steps = self.steps if x.stream else self.whole_steps
        if len(x.raw) >= LONG_CHARS:
            steps = self.long_steps[not x.stream]
        for hook, link, awaits in steps:
            x.current_module = link.name
            try:
                if awaits:
                    x.current_hook = "prepare"
                    waiting = hook(x)
                    if waiting is not None:
                        x.reached = link.place
                        x.running = link
                        x.running_since_ns = before
                        try:
                            answer = await waiting
                        finally:
                            x.running = None
                else:
                    answer = hook(x)
                if answer is not None:
                    check_answer(x, answer)
                if awaits:
                    x.current_hook = "on_request"
            except StockyardError as error:
                x.reached = link.place
                refuse(x, link, error)
                raise
            except CallFailed:
                x.reached = link.place
                raise
            except asyncio.CancelledError:
                if not hangs(x, link):
                    raise
                fail(x, link, hung(link))
                x.current_hook = "on_request"
            except Exception as error:  # the module's own failure: recorded in the trail, then open or closed
                answer = None
                x.reached = link.place
                fail(x, link, error)
                x.current_hook = "on_request"
            now = perf_counter_ns()
            if sampled:
                link.meter.histogram.add(now - before)
            if len(decisions) != count:
                timed(x, link, count, now - before)
                count = len(decisions)
            before = now
            if answer is not None:
                x.reached = link.place
                break
        if answer is None:
            x.reached = self.last_place
            x.current_hook = "around"
            x.mark_ns = before
            try:
                answer = await self.call(x)
            except StockyardError as error:
                self._refused(x, error)
                raise
        x.answer = answer
        return answer

    def _refused(self, x: Exchange, error: StockyardError) -> None:
        """Record what an `around` or a shim refused the call with, now that no module further out made something else of it."""
        for link in (*self.links, *(link for link, _ in self.shims.values())) if error.module else ():
            if link.name == error.module:
                x.current_hook = "around"
                refuse(x, link, error)
                return

    def respond(self, x: Exchange, answer: Answer) -> None:
        """The whole answer through `on_response`, innermost first. Raises `StockyardError` when a module refuses it."""
        x.current_hook = "on_response"
        sampled = x.sampled
        decisions = x.decisions
        count = len(decisions)
        before = perf_counter_ns()
        for hook, link in self.responses:
            x.current_module = link.name
            obj = answer.obj
            try:
                hook(x, answer)
                if type(answer.obj) is not dict and answer.obj is not obj:
                    raise WrongAnswer(f"{type(answer.obj).__name__} in place of the answer's object")
            except StockyardError as error:
                refuse(x, link, error)
                raise
            except Exception as error:  # the module's own failure: recorded in the trail, then open or closed
                answer.obj = obj
                fail(x, link, error)
            now = perf_counter_ns()
            if sampled:
                link.meter.histogram.add(now - before)
            if len(decisions) != count:
                timed(x, link, count, now - before)
                count = len(decisions)
            before = now

    def delta(self, x: Exchange, delta: Delta) -> None:
        """One event of a stream through `on_delta`, innermost first. Raises `StockyardError` when a module ends the stream."""
        hooks = x.delta_hooks or self.deltas
        feeds = x.feeds
        if hooks.skipped is not x.skipped or hooks.feeds is not feeds:
            hooks = x.delta_hooks = DeltaHooks(self.deltas.events, x.skipped, feeds)
        if feeds is not None:
            part = plain_part(delta)
            if part is not None:
                self._plain_delta(x, delta, part, hooks)
                return
        decisions = x.decisions
        count = len(decisions)
        x.current_hook = "on_delta"
        before = perf_counter_ns()
        obj = delta.obj
        for hook, link in hooks.events:
            x.current_module = link.name
            try:
                hook(x, delta)
                if delta.obj is not obj:
                    obj = _checked(delta)
            except StockyardError as error:
                refuse(x, link, error)
                raise
            except Exception as error:  # the module's own failure: recorded in the trail, then open or closed
                x.skipped = (x.skipped or set()) | {link.name}
                delta.obj = obj
                fail(x, link, error)
            if len(decisions) != count:
                now = perf_counter_ns()
                timed(x, link, count, now - before)
                count = len(decisions)
                before = now

    def _plain_delta(self, x: Exchange, delta: Delta, part: JSON, hooks: DeltaHooks) -> None:
        """The same for an event that is some text and nothing else: modules that gave a `Feed` are called with the text alone, and
        not at all while another, further in, holds it."""
        text: str | None = part["content"]
        decisions = x.decisions
        count = len(decisions)
        x.current_hook = "on_delta"
        before = perf_counter_ns()
        obj = delta.obj
        for feed, hook, link, follows in hooks.texts if text else hooks.empty:
            whole = feed is None or text is None
            if not text and not whole:
                continue
            x.current_module = link.name
            try:
                if not whole:
                    sent = feed(text, False)  # type: ignore[arg-type,misc]
                    if sent is None:
                        whole = True
                    elif sent is not text and sent != text:
                        part["content"] = text = sent
                        delta.changed = True
                if whole:
                    hook(x, delta)
                    if delta.obj is not obj:
                        obj = _checked(delta)
                    if follows:
                        left = plain_part(delta)
                        text = left["content"] if left is not None else None
                        part = left or part
            except StockyardError as error:
                refuse(x, link, error)
                raise
            except Exception as error:  # the module's own failure: recorded in the trail, then open or closed
                x.skipped = (x.skipped or set()) | {link.name}
                delta.obj = obj
                text = None  # whatever it did to the event before: those that follow see all of it
                fail(x, link, error)
            if len(decisions) != count:
                now = perf_counter_ns()
                timed(x, link, count, now - before)
                count = len(decisions)
                before = now

    def finish(self, x: Exchange) -> None:
        """`on_finish` of every module that was reached, in order; never raises."""
        x.current_hook = "on_finish"
        sampled = x.sampled
        decisions = x.decisions
        count = len(decisions)
        before = perf_counter_ns()
        reached = x.reached
        calls = self._finished.at
        calls[reached] = calls.get(reached, 0) + 1
        for hook, link in self.finishes if x.stream else self.whole_finishes:
            if link.place > reached:
                break
            x.current_module = link.name
            try:
                hook(x)
            except Exception as error:  # recorded; at the end of a call there is nothing left to refuse
                record_failure(x, link, error)
            now = perf_counter_ns()
            if sampled:
                link.meter.histogram.add(now - before)
            if len(decisions) != count:
                timed(x, link, count, now - before)
                count = len(decisions)
            before = now


def _checked(delta: Delta) -> JSON:
    """The event's object that a hook put in place of another. Raises `WrongAnswer` for what is none."""
    if type(delta.obj) is not dict:
        raise WrongAnswer(f"{type(delta.obj).__name__} in place of the event's object")
    return delta.obj
