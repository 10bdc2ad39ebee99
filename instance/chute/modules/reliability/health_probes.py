"""Probes: each provider is asked by itself, now and then, whether it is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Literal

from instance.chute.provider_check import CheckResult, check_chat, check_models

if TYPE_CHECKING:
    from instance.chute.modules.reliability.health_table import HealthTable
    from instance.chute.provider import Provider
    from instance.chute.providers import ProviderTable
    from instance.core.clock import Clock

NS = 1_000_000_000
IDLE_S = 1.0
"""How often is looked for new providers while none is due."""
AT_ONCE_MAX = 8

log = logging.getLogger("stockyard.modules")


class Probes:
    """Asks every usable provider each `interval_s`, a tenth more or less; one whose state is about to change is asked
    sooner, so that both ways are done within two intervals whatever `fail_after` and `pass_after` are."""

    def __init__(
        self,
        table: HealthTable,
        providers: ProviderTable,
        clock: Clock,
        *,
        kind: Literal["models", "chat"],
        interval_s: float,
        timeout_s: float,
        fail_after: int,
        pass_after: int,
        random: Callable[[], float],
    ) -> None:
        self._table = table
        self._providers = providers
        self._clock = clock
        self._chat = kind == "chat"
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._fail_after = fail_after
        self._pass_after = pass_after
        self._random = random
        self._due_ns: dict[str, int] = {}

    async def run(self) -> None:
        """Probe for ever; a failure of our own is logged and the next round tries again."""
        while True:
            try:
                await self._clock.sleep(await self.round())
            except Exception:  # contained: the state of providers must go on being known
                log.exception("the probes of providers failed")
                await self._clock.sleep(self._interval_s)

    async def round(self) -> float:
        """Probe who is due; seconds until somebody is again."""
        now = self._clock.mono_ns()
        usable = {provider.name: provider for provider in self._providers.usable() if not provider.is_mock}
        for gone in [name for name in self._due_ns if name not in usable]:
            del self._due_ns[gone]
            self._table.forget(gone)
        for name in usable:
            self._due_ns.setdefault(name, now)
        due = [name for name, at in self._due_ns.items() if at <= now]
        for first in range(0, len(due), AT_ONCE_MAX):
            await asyncio.gather(*(self._probe(usable[name]) for name in due[first : first + AT_ONCE_MAX]))
        now = self._clock.mono_ns()
        for name in due:
            self._due_ns[name] = now + round(self._wait_s(name) * NS)
        nearest = min(self._due_ns.values(), default=now + round(self._interval_s * NS))
        return max(0.01, min((nearest - now) / NS, max(IDLE_S, self._interval_s / 10)))

    def _wait_s(self, name: str) -> float:
        condition = self._table.condition(name)
        changing = condition is not None and (
            condition.passes > 0 if name in self._table.out else condition.failures > 0
        )
        if changing:
            return self._interval_s / (4 * max(self._fail_after, self._pass_after))
        return self._interval_s * (0.9 + 0.2 * self._random())

    async def _probe(self, provider: Provider) -> None:
        started = perf_counter_ns()
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await self._asked(provider)
        except TimeoutError:
            took = (perf_counter_ns() - started) // 1000
            result = CheckResult(False, took, None, f"no answer within {self._timeout_s:g} s")
        if result is None:
            return
        status = result.http_status
        bad_key = status in (401, 403)
        if not bad_key and (result.ok or (status is not None and status != 200 and status < 500)):
            # Whatever it thinks of the question, it is there and talks.
            self._table.passed(provider.name, self._pass_after)
            self._table.try_again(provider.name)
        else:
            self._table.failed(provider.name, result.error, self._fail_after, bad_key=bad_key)
        provider.health.checked(result.ok, result.latency_us, result.error, self._clock.wall_ns(), bad_key=bad_key)
        if result.models is not None:
            self._providers.take_listed(provider.name, result.models, self._clock.wall_ns())

    async def _asked(self, provider: Provider) -> CheckResult | None:
        if not self._chat:
            return await check_models(provider)
        model = next(iter(provider.spec.models or provider.listed), "")
        return await check_chat(provider, model) if model else None
