"""rateshield: limits on requests, tokens and calls at once, by key, user, team, address and model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import Answer
from instance.chute.call_identity import holder
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.cost.limit_rules import SUBJECTS, ConcurrencyLimit, Limit, LimitRule, succeeding
from instance.chute.modules.cost.rate_limits import Repeats, Slots
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

NS = 1_000_000_000

Held = Sequence[tuple[Slots, str]]
Waits = Sequence[tuple[Slots, str, str]]
_NO_SLOTS: tuple[()] = ()


class _Held:
    """What one call holds and owes until it ends."""

    __slots__ = ("charged", "counted_tokens", "slots", "wait_ns", "waits_for")

    def __init__(
        self,
        charged: list[tuple[LimitRule, str]],
        counted_tokens: int,
        slots: list[tuple[Slots, str]],
        wait_ns: int,
        waits_for: Waits,
    ) -> None:
        self.charged = charged
        self.counted_tokens = counted_tokens
        self.slots = slots
        self.wait_ns = wait_ns
        self.waits_for = waits_for


class RateShield(Module):
    """Sliding limits: a request is let through, made to wait its turn (`queue_s`), or refused with the time to come back."""

    name: ClassVar[str] = "rateshield"
    category: ClassVar[str] = "cost"
    group: ClassVar[int] = 2
    summary: ClassVar[str] = "Limits on requests, tokens and calls at once"
    rejects: ClassVar[tuple[str, ...]] = ("rate_limited", "too_many_concurrent")
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        limits: list[Limit] = Field(
            default=[Limit(by="key", requests=600, per="minute", burst=100)],
            max_length=50,
            description="Sliding limits.",
        )
        concurrency: list[ConcurrencyLimit] = Field(default=[], max_length=20, description="Limits on calls at once.")
        queue_s: float = Field(
            default=0.0, ge=0, le=3600, description="Seconds a call may wait for its turn; 0: refused at once."
        )
        dup_max: int = Field(
            default=0, ge=0, le=10_000, description="Identical requests of one key in dup_window_s; 0: no limit."
        )
        dup_window_s: float = Field(
            default=10.0, gt=0, le=86_400, description="Seconds over which repeats are counted."
        )
        exempt: list[Annotated[str, Field(max_length=200)]] = Field(
            default=[], max_length=1000, description="Keys without limits, by id or name."
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._clock = Clock()
        self._rules = [LimitRule(limit, None) for limit in settings.limits]
        self._slots = [(SUBJECTS[rule.by], Slots(rule.max), rule.by) for rule in settings.concurrency]
        self._repeats = Repeats(settings.dup_max, round(settings.dup_window_s * NS)) if settings.dup_max else None
        self._exempt = frozenset(settings.exempt)
        self._queue_ns = round(settings.queue_s * NS)
        self._counts_tokens = any(rule.counts_tokens for rule in self._rules)
        self._is_plain = (
            [(rule.by, rule.counts_tokens, rule.matches) for rule in self._rules] == [("key", False, None)]
            and self._repeats is None
            and not (self._slots or self._exempt)
        )
        """One limit on the requests of each key, as at first, is all there is."""

    async def start(self, core: Core, previous: Module | None) -> None:
        self._clock = core.clock
        if isinstance(previous, RateShield):
            self._rules = succeeding(previous._rules, [rule.limit for rule in self._rules])
            before = {by: slots for _, slots, by in previous._slots}
            for _, slots, by in self._slots:
                if by in before:
                    slots.take_over(before.pop(by))
            if self._repeats is not None and previous._repeats is not None:
                self._repeats.take_over(previous._repeats)

    def hooks(self) -> tuple[str, ...]:
        needed = ["on_request"]
        if self._queue_ns:
            needed.append("around")
        if self._slots or self._counts_tokens:
            needed.append("on_finish")
        return tuple(needed)

    def on_request(self, x: Exchange) -> Answer | None:
        principal = x.principal
        if self._is_plain and principal is not None and principal.key_text and not x.dry:
            now_ns, arrivals = self._clock.mono_ns(), self._rules[0].arrivals
            if not arrivals.wait_ns(principal.key_text, 1, now_ns):
                x.response_headers += self._rules[0].said(*arrivals.charge(principal.key_text, 1, now_ns))
                return None
        if (
            self._exempt
            and principal is not None
            and (str(principal.key_id) in self._exempt or principal.name in self._exempt)
        ):
            return None
        now_ns = self._clock.mono_ns()
        repeat = None
        if self._repeats is not None and principal is not None:
            repeat = hash((holder(x), x.raw))
            wait_ns = self._repeats.wait_ns(repeat, now_ns)
            if wait_ns:
                raise self._limited(x, "repeats", "the same request came too often", wait_ns)
        counted_tokens = x.prompt_tokens() if self._counts_tokens else 0
        key = principal.key_text if principal is not None else ""
        charged: list[tuple[LimitRule, str]] = []
        wait_ns = 0
        for rule in self._rules:
            subject = key if rule.by == "key" else rule.subject(x)
            if not subject or (rule.matches is not None and rule.matches(subject) is None):
                continue
            charged.append((rule, subject))
            arrivals = rule.arrivals
            if arrivals.tats.get(subject, 0) <= now_ns:
                continue
            wait = arrivals.wait_ns(subject, counted_tokens if rule.counts_tokens else 1, now_ns)
            if wait > self._queue_ns:
                x.response_headers += rule.said(*arrivals.state(subject, now_ns))
                limit = rule.limit
                what = (
                    f"{limit.requests or limit.tokens} {'tokens' if rule.counts_tokens else 'requests'} a {limit.per}"
                )
                raise self._limited(x, rule.by, f"{what} for each {rule.by}" if rule.by != "global" else what, wait)
            if wait > wait_ns:
                wait_ns = wait
        taken, waits_for = self._take_slots(x, key) if self._slots else (_NO_SLOTS, _NO_SLOTS)
        if x.dry:
            return None
        if len(charged) == 1 and not self._counts_tokens:
            rule, subject = charged[0]
            x.response_headers += rule.said(*rule.arrivals.charge(subject, 1, now_ns))
        elif charged:
            self._charge(x, charged, counted_tokens, now_ns)
        if repeat is not None and self._repeats is not None:
            self._repeats.add(repeat, now_ns)
        if self._counts_tokens or wait_ns or taken or waits_for:
            x.state["rateshield"] = _Held(charged, counted_tokens, [*taken], wait_ns, waits_for)
        return None

    def _take_slots(self, x: Exchange, key: str) -> tuple[Held, Waits]:
        """The slots that the call takes, none of a dry one, and those that it has to wait for. Raises `too_many_concurrent`."""
        taken: list[tuple[Slots, str]] = []
        waits_for: list[tuple[Slots, str, str]] = []
        for subject_of, slots, by in self._slots:
            subject = key if by == "key" else subject_of(x)
            if not subject:
                continue
            if slots.take_if_free(subject):
                taken.append((slots, subject))
            elif self._queue_ns:
                waits_for.append((slots, subject, by))
            else:
                for other, holder_of in taken:
                    other.give_back(holder_of)
                raise self._crowded(x, by, slots)
        if x.dry:
            for slots, subject in taken:
                slots.give_back(subject)
        return taken, waits_for

    def _charge(self, x: Exchange, charged: list[tuple[LimitRule, str]], counted_tokens: int, now_ns: int) -> None:
        """Count the call, and say of the tightest limit on requests and of that on tokens what is left."""
        requests = tokens = None
        left_requests = left_tokens = reset_requests_ns = reset_tokens_ns = 0
        for rule, subject in charged:
            if rule.counts_tokens:
                left, reset_ns = rule.arrivals.charge(subject, counted_tokens, now_ns)
                if tokens is None or left < left_tokens:
                    tokens, left_tokens, reset_tokens_ns = rule, left, reset_ns
            else:
                left, reset_ns = rule.arrivals.charge(subject, 1, now_ns)
                if requests is None or left < left_requests:
                    requests, left_requests, reset_requests_ns = rule, left, reset_ns
        if requests is not None:
            x.response_headers += requests.said(left_requests, reset_requests_ns)
        if tokens is not None:
            x.response_headers += tokens.said(left_tokens, reset_tokens_ns)

    def passes(self, x: Exchange) -> bool:
        """When it is its turn."""
        held: _Held | None = x.state.get("rateshield")
        return held is None or not (held.wait_ns or held.waits_for)

    async def around(self, x: Exchange, call: Call) -> Answer:
        held: _Held | None = x.state.get("rateshield")
        if held is not None and (held.wait_ns or held.waits_for):
            with x.elsewhere():
                await self._queue(x, held)
        return await call(x)

    async def _queue(self, x: Exchange, held: _Held) -> None:
        """Wait for the call's turn; what is waited counts as deliberate waiting."""
        started_ns = self._clock.mono_ns()
        try:
            if held.wait_ns:
                await self._clock.sleep(held.wait_ns / NS)
            for slots, subject, by in held.waits_for:
                if slots.free(subject):
                    slots.take(subject)
                else:
                    await self._wait_for_slot(x, slots, subject, by, started_ns + self._queue_ns)
                held.slots.append((slots, subject))
        finally:
            waited_ns = self._clock.mono_ns() - started_ns
            x.waited_ns += waited_ns
        x.note("queued", {"ms": waited_ns // 1_000_000})

    async def _wait_for_slot(self, x: Exchange, slots: Slots, subject: str, by: str, until_ns: int) -> None:
        place = slots.wait(subject)
        limit = asyncio.ensure_future(self._clock.sleep(max(0, until_ns - self._clock.mono_ns()) / NS))
        try:
            await asyncio.wait((place, limit), return_when=asyncio.FIRST_COMPLETED)
            if not place.done():
                raise self._crowded(x, by, slots)
        except BaseException:
            slots.leave(subject, place)
            raise
        finally:
            limit.cancel()

    def on_finish(self, x: Exchange) -> None:
        held: _Held | None = x.state.pop("rateshield", None)
        if held is None:
            return
        for slots, subject in held.slots:
            slots.give_back(subject)
        if not self._counts_tokens:
            return
        usage = x.usage
        owed = usage.output
        if usage.input > held.counted_tokens:
            owed += usage.input - held.counted_tokens
        if owed:
            now_ns = self._clock.mono_ns()
            for rule, subject in held.charged:
                if rule.counts_tokens:
                    rule.arrivals.charge(subject, owed, now_ns)

    def _limited(self, x: Exchange, by: str, what: str, wait_ns: int) -> StockyardError:
        retry_after = -(-wait_ns // NS)
        x.note("limited", {"by": by, "limit": what, "retry_after": retry_after})
        return StockyardError(
            "rate_limited",
            f"Over the limit: {what}. Repeat the call in {retry_after} s.",
            headers={"Retry-After": str(retry_after)},
        )

    def _crowded(self, x: Exchange, by: str, slots: Slots) -> StockyardError:
        x.note("limited", {"by": by, "limit": f"{slots.most} at once", "retry_after": 1})
        return StockyardError(
            "too_many_concurrent",
            f"Over the limit of {slots.most} calls at once" + (f" for each {by}." if by != "global" else "."),
            headers={"Retry-After": "1"},
        )
