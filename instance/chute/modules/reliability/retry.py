"""retry: repeats a failed attempt on the same target, within a budget that all calls share."""

from __future__ import annotations

from collections.abc import Callable
from random import random as uniform
from typing import TYPE_CHECKING

import orjson
from pydantic import Field

from instance.chute.answer import Answer
from instance.chute.caller import model_allowed
from instance.chute.cost_lines import cost_lines
from instance.chute.exchange import STANDS_IN, Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.provider_errors import classify, read_provider_error
from instance.chute.retry_after import retry_after_s
from instance.chute.usage import Usage
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

STATUSES = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
KINDS = frozenset(("connect", "connect_timeout", "reset", "truncated", "timeout_connect", "timeout_first_token"))
NOT_ACCEPTED = frozenset(("connect", "connect_timeout", "timeout_connect"))
"""Failures before the provider had the request."""
TURNED_AWAY = frozenset((425, 429, 503, 529))
"""Statuses with which a provider turns a request away unread."""
SIDE_EFFECTS = frozenset(("images", "audio"))
FREE_PER_MINUTE = 10.0
EARNED_MAX = 100.0
HEADER = b"x-stockyard-attempts"


class RetryBudget:
    """How many retries the process may still make: ten a minute for free, more as first attempts earn them."""

    __slots__ = ("_free", "_mono_ns", "_refilled_ns", "earned")

    def __init__(self, mono_ns: Callable[[], int]) -> None:
        self._mono_ns = mono_ns
        self._refilled_ns = mono_ns()
        self._free = FREE_PER_MINUTE
        self.earned = 0.0

    def earn(self, share: float) -> None:
        """Count a first attempt, worth `share` of a retry."""
        earned = self.earned + share
        self.earned = earned if earned < EARNED_MAX else EARNED_MAX

    def take(self) -> bool:
        """Take one retry; False when none is left."""
        now = self._mono_ns()
        self._free = min(FREE_PER_MINUTE, self._free + (now - self._refilled_ns) * FREE_PER_MINUTE / 60e9)
        self._refilled_ns = now
        if self._free >= 1:
            self._free -= 1
            return True
        if self.earned >= 1:
            self.earned -= 1
            return True
        return False


class Retry(Module):
    """Waits and tries again when an attempt failed in a way that may pass; streams only before their first content.

    The wait is random up to a bound that doubles (full jitter), or what the provider asks for. A wait that the call's
    deadline or `max_retry_after_s` does not leave room for is not begun: the failure is passed on at once.
    """

    name = "retry"
    category = "reliability"
    group = 11
    summary = "Repeats failed attempts with jitter, Retry-After and a shared budget"
    default_enabled = True
    kinds = ALL_KINDS
    per_client = True

    class Settings(ModuleSettings):
        max_retries: int = Field(default=2, ge=0, le=10, description="Attempts after the first.")
        base_delay_s: float = Field(
            default=0.5, ge=0, le=60, description="Bound of the first wait; it doubles with each retry."
        )
        max_delay_s: float = Field(default=8.0, ge=0, le=300, description="Largest bound of a wait.")
        max_retry_after_s: float = Field(
            default=20.0, ge=0, le=3600, description="Longest wait that a provider may ask for."
        )
        min_remaining_s: float = Field(
            default=2.0, ge=0, le=600, description="What must be left of the deadline after a wait."
        )
        budget_ratio: float = Field(
            default=0.2, ge=0, le=10, description="Retries that each first attempt allows; ten a minute are free."
        )
        downgrade: dict[str, str] = Field(
            default={}, max_length=100, description="Model -> cheaper model for the last attempt."
        )
        retry_side_effects: bool = Field(
            default=False, description="Repeat image and audio calls that the provider may have accepted."
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings, *, random: Callable[[], float] = uniform) -> None:
        super().__init__(settings)
        self._random = random
        self._earned = self.settings.budget_ratio
        self._clock = Clock()
        self._budget = RetryBudget(self._clock.mono_ns)
        self._core: Core | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._clock = core.clock
        self._budget = previous._budget if isinstance(previous, Retry) else RetryBudget(core.clock.mono_ns)

    async def around(self, x: Exchange, call: Call) -> Answer:
        budget = self._budget
        if budget.earned < EARNED_MAX:
            budget.earn(self._earned)
        try:
            return await call(x)
        except CallFailed as first:
            failure = first
            self._charge(x, failure)
        try:
            return await self._again(x, call, failure)
        finally:
            _say_attempts(x)

    async def _again(self, x: Exchange, call: Call, failure: CallFailed) -> Answer:
        last = self.settings.max_retries
        for n in range(1, last + 1):
            wait_s = self._wait_s(x, failure, n)
            if wait_s is None:
                break
            if n == last:
                self._downgrade(x)
            x.note(
                "retry",
                {"n": n, "reason": _reason(failure), "wait_ms": round(wait_s * 1000)},
                module=self.name,
                hook="around",
            )
            await self._wait(x, wait_s)
            try:
                return await call(x)
            except CallFailed as again:
                failure = again
                self._charge(x, failure)
        raise failure

    def _wait_s(self, x: Exchange, failure: CallFailed, n: int) -> float | None:
        """Seconds to wait before retry `n`; `None` when there shall be none."""
        own = self.settings
        if not self._may_pass(x, failure):
            return None
        asked = retry_after_s(failure.status, failure.headers, failure.body, self._clock.wall_ns() / 1e9)
        if asked is None:
            wait_s = self._random() * min(own.max_delay_s, own.base_delay_s * 2 ** (n - 1))
        elif asked > own.max_retry_after_s:
            return None
        else:
            wait_s = asked
        left = x.remaining_s()
        if left is not None and left < wait_s + own.min_remaining_s:
            return None
        return wait_s if self._budget.take() else None

    def _may_pass(self, x: Exchange, failure: CallFailed) -> bool:
        if x.state.get("no_retry"):
            return False
        if x.kind in SIDE_EFFECTS and not self.settings.retry_side_effects:
            turned_away = failure.kind == "http" and failure.status in TURNED_AWAY
            if not turned_away and failure.kind not in NOT_ACCEPTED:
                return False
        if failure.kind != "http":
            return failure.kind in KINDS
        if failure.status not in STATUSES or failure.headers.get(b"x-should-retry") == b"false":
            return False
        if failure.status != 429:
            return True
        waits = retry_after_s(failure.status, failure.headers, failure.body) is not None
        return classify(429, read_provider_error(failure.body, failure.headers), asks_to_wait=waits) != "provider_quota"

    def _charge(self, x: Exchange, failure: CallFailed) -> None:
        """Add what a failed attempt cost that reported its usage: a broken answer, an error after the work was done."""
        prices = self._core.services.get("prices") if self._core is not None else None
        if prices is None or failure.target is None or b'"usage"' not in failure.body:
            return
        try:
            said = orjson.loads(failure.body)
        except orjson.JSONDecodeError:
            return
        usage = Usage()
        usage.take(said.get("usage") if isinstance(said, dict) else None)
        price = prices.of(failure.target)
        if usage.source and price is not None:
            x.cost_lines += [(f"{self.name}:{what}", nano) for what, nano in cost_lines(price, usage)]

    async def _wait(self, x: Exchange, seconds: float) -> None:
        began = self._clock.mono_ns()
        try:
            with x.elsewhere():
                await self._clock.sleep(seconds)
        finally:
            waited = self._clock.mono_ns() - began
            x.waited_ns += waited
            x.mark_ns += waited

    def _downgrade(self, x: Exchange) -> None:
        """Let the last attempt ask the cheaper model, when one is set, known and allowed to the caller."""
        if not self.settings.downgrade or not x.targets or self._core is None:
            return
        target = x.targets[0]
        cheaper = self.settings.downgrade.get(target.label) or self.settings.downgrade.get(target.model)
        table = self._core.services.get("providers")
        if not cheaper or table is None:
            return
        try:
            if x.principal is not None:
                model_allowed(x.principal, cheaper)
            targets = [other for other in table.resolve(cheaper) if all(allows(other) for allows in x.allow)]
        except StockyardError:
            return
        if targets:
            x.targets = targets
            x.state[STANDS_IN] = True
            x.note("downgrade", {"from": target.label, "to": targets[0].label}, module=self.name, hook="around")


def _reason(failure: CallFailed) -> str:
    return str(failure.status) if failure.kind == "http" else failure.kind


def _say_attempts(x: Exchange) -> None:
    if len(x.attempts) > 1:
        x.response_headers[:] = [header for header in x.response_headers if header[0] != HEADER]
        x.response_headers.append((HEADER, b"%d" % len(x.attempts)))
