"""keypool: several keys for one provider; a key that is limited, refused or used up is passed over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import ceil
from random import random as uniform
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from instance.chute.answer import Answer
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.module_secrets import masked
from instance.chute.modules.other.key_choice import at_random, by_turns, of_session
from instance.chute.modules.other.key_row import KeyRow
from instance.chute.modules.other.pooled_key import PooledKey
from instance.chute.provider_errors import classify, read_provider_error
from instance.chute.remaining_quota import remaining_share
from instance.chute.retry_after import retry_after_s
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

KEYS_MAX = 500

log = logging.getLogger("stockyard.modules")

Strategy = Literal["round_robin", "least_used", "most_quota", "random", "priority", "session"]


class KeyPool(Module):
    """Chooses the key of each attempt at a provider that has keys here; its own key is not used then.

    A 429 lets the key cool and tries the next at once, each key at most once a call, and streams only before their first
    content. A key that is refused twice in a row is set aside until it is reset or changed, one whose account is used up
    until the next day.
    """

    name: ClassVar[str] = "keypool"
    category: ClassVar[str] = "other"
    group: ClassVar[int] = 11
    summary: ClassVar[str] = "Several keys for one provider, each with its limits"
    rejects: ClassVar[tuple[str, ...]] = ("keys_exhausted", "no_valid_key")
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    secret_settings: ClassVar[frozenset[str]] = frozenset(("key",))

    class Settings(ModuleSettings):
        strategy: Strategy = Field(
            default="round_robin",
            description="round_robin by weight; least_used: fewest tokens in the last minute; most_quota: most left by the "
            "provider's headers; random by weight; priority: the first that can; session: always the same for a session.",
        )
        cooldown_s: float = Field(
            default=60.0, gt=0, le=900, description="Rest after a 429 that names no time; doubles up to 15 minutes."
        )
        keys: list[KeyRow] = Field(default=[], max_length=KEYS_MAX, description="The keys.")
        wait_s: float = Field(
            default=0.0, ge=0, le=600, description="Seconds a call waits for a key to come free; 0: refused at once."
        )

        @model_validator(mode="after")
        def _names_differ(self) -> KeyPool.Settings:
            names = [(row.provider, row.name) for row in self.keys]
            if len(set(names)) < len(names):
                raise ValueError("two keys of a provider have the same name")
            return self

    settings: Settings

    def __init__(self, settings: ModuleSettings, *, random: Callable[[], float] = uniform) -> None:
        super().__init__(settings)
        self._random = random
        self._strategy = self.settings.strategy
        self._clock = Clock()
        self._core: Core | None = None
        self.pools: dict[str, list[PooledKey]] = {}
        for row in self.settings.keys:
            self.pools.setdefault(row.provider, []).append(row.made())
        self._for_some = frozenset(key.provider for key in self.all_keys() if not key.serves_all)
        """Providers of which some key is for some models only."""

    def hooks(self) -> tuple[str, ...]:
        return super().hooks() if self.pools else ()

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._clock = core.clock
        if isinstance(previous, KeyPool):
            before = {(key.provider, key.name, key.key.secret): key for key in previous.all_keys()}
            for key in self.all_keys():
                old = before.get((key.provider, key.name, key.key.secret))
                if old is not None:
                    key.take_over(old)
        core.services["keypool"] = self
        self._tell({name: [key.key.secret for key in keys] for name, keys in self.pools.items()})

    async def stop(self) -> None:
        if self._core is not None and self._core.services.get("keypool") is self:
            del self._core.services["keypool"]
            self._tell({})

    def _tell(self, keys: dict[str, list[str]]) -> None:
        table = self._core.services.get("providers") if self._core is not None else None
        if table is not None:
            table.take_pooled_keys(keys)

    def all_keys(self) -> list[PooledKey]:
        return [key for keys in self.pools.values() for key in keys]

    def rows(self) -> list[dict[str, Any]]:
        """Every key as the API shows it."""
        now, wall = self._clock.mono_ns(), self._clock.wall_ns()
        rows = []
        for key in self.all_keys():
            key.requests.pass_to(now)
            key.tokens.pass_to(now)
            free = key.free_in_s(now, wall)
            rows.append(
                {
                    "provider": key.provider,
                    "name": key.name,
                    "key": masked(key.key.secret),
                    "state": key.state(now, wall),
                    "free_in_s": None if free is None else round(free, 3),
                    "requests_last_minute": key.requests.total,
                    "tokens_last_minute": key.tokens.total,
                    "usd_today": key.day_nano / 1e9,
                    "quota_share": key.share,
                }
            )
        return rows

    def report(self) -> dict[str, Any]:
        """Every key with its state and use."""
        return {"keys": self.rows()}

    def reset(self, provider: str, name: str) -> None:
        """Use the key again, whatever happened to it. Raises `not_found`."""
        for key in self.pools.get(provider, ()):
            if key.name == name:
                key.reset()
                return
        raise StockyardError("not_found", f"There is no key {name!r} of {provider!r} in the pool.")

    def passes(self, x: Exchange) -> bool:
        """At a provider that has no keys here."""
        targets = x.targets
        return not targets or targets[0].provider.name not in self.pools

    async def around(self, x: Exchange, call: Call) -> Answer:
        provider = x.targets[0].provider.name if x.targets else ""
        pool = self.pools.get(provider)
        if pool is None or (x.own_keys is not None and x.take_own_key(provider)) or x.provider_key is not None:
            return await call(x)
        fitting = pool
        if provider in self._for_some:
            model = x.targets[0].model
            fitting = [key for key in pool if key.serves(model)]
            if not fitting:
                return await call(x)
        left = fitting
        failure: CallFailed | None = None
        try:
            while left:
                now_ns = self._clock.mono_ns()
                key = self._picked(x, left, now_ns)
                if key is None:
                    if failure is None and await self._waited(x, left):
                        continue
                    break
                x.provider_key = key.key
                key.began(now_ns)
                try:
                    answer = await call(x)
                except CallFailed as failed:
                    reason = self._judged(key, failed)
                    if reason is None:
                        raise
                    x.note("key", {"name": key.name, "reason": reason}, module=self.name, hook="around")
                    failure = failed
                    left = [other for other in left if other is not key]
                    continue
                key.answered(remaining_share(answer.headers) if answer.headers else None)
                x.state["pool_key"] = key
                return answer
        finally:
            x.provider_key = None
        raise self._none_left(x, fitting, failure)

    def on_finish(self, x: Exchange) -> None:
        """Count what the call used against the key that served it, and what its other attempts used against theirs."""
        state, beside_nano = x.state, 0
        if x.undelivered is not None:
            for row, usage, nano in x.undelivered:
                beside_nano += nano
                for key in self.pools.get(row["provider"], ()):
                    if key.name == row["key_name"]:
                        key.used(usage.input + usage.output, nano, self._clock.mono_ns(), self._clock.wall_ns())
        if "pool_key" in state:
            key, usage = state["pool_key"], x.usage
            nano = x.cost_nano - beside_nano
            key.used(usage.input + usage.output, nano, self._clock.mono_ns(), self._clock.wall_ns())

    def _judged(self, key: PooledKey, failure: CallFailed) -> str | None:
        """Why another key may do better, with the key's state set so; `None` when none would."""
        if failure.kind != "http" or not 400 <= failure.status < 500:
            return None
        asked_s = retry_after_s(failure.status, failure.headers, failure.body, self._clock.wall_ns() / 1e9)
        code = classify(
            failure.status, read_provider_error(failure.body, failure.headers), asks_to_wait=asked_s is not None
        )
        if code == "provider_quota":
            key.spent(self._clock.wall_ns())
            return "out of credit"
        if failure.status == 429:
            rest_s = key.cool(asked_s, self.settings.cooldown_s, self._clock.mono_ns())
            return f"429, rests {rest_s:g} s"
        if code == "provider_auth_failed":
            if not key.refused():
                return str(failure.status)
            log.warning("the key %r of %r was refused twice in a row and is set aside", key.name, key.provider)
            return f"{failure.status}, set aside"
        return None

    async def _waited(self, x: Exchange, keys: list[PooledKey]) -> bool:
        """Wait for the first key that comes free, if that is soon enough."""
        wait_s = self._soonest_s(keys)
        if wait_s is None or wait_s > self.settings.wait_s:
            return False
        remaining = x.remaining_s()
        if remaining is not None and remaining <= wait_s:
            return False
        began = self._clock.mono_ns()
        try:
            with x.elsewhere():
                await self._clock.sleep(wait_s)
        finally:
            waited = self._clock.mono_ns() - began
            x.waited_ns += waited
            x.mark_ns += waited
        return True

    def _soonest_s(self, keys: list[PooledKey]) -> float | None:
        now, wall = self._clock.mono_ns(), self._clock.wall_ns()
        waits = [wait for key in keys if (wait := key.free_in_s(now, wall)) is not None]
        return min(waits, default=None)

    def _none_left(self, x: Exchange, keys: list[PooledKey], failure: CallFailed | None) -> Exception:
        provider = keys[0].provider
        soonest = self._soonest_s(keys)
        if soonest is None:
            return StockyardError(
                "no_valid_key",
                f"No key of {provider!r} is accepted any more; store a new one in the module keypool.",
                details={"provider": provider},
                module=self.name,
            )
        if failure is not None and soonest == 0:
            # Some key may still be good (refused once only), so what the provider said is the better answer.
            return failure
        wait_s = max(1, ceil(soonest))
        return StockyardError(
            "keys_exhausted",
            f"Every key of {provider!r} is at its limit; the first comes free in {wait_s} s.",
            details={"provider": provider, "keys": len(keys)},
            headers={"Retry-After": str(wait_s)},
            module=self.name,
        )

    def _picked(self, x: Exchange, keys: list[PooledKey], now: int) -> PooledKey | None:
        """The key to use next, of those that may be used now."""
        wall = self._clock.wall_ns()
        ready = [key for key in keys if key.is_free(now, wall)]
        if len(ready) < 2:
            return ready[0] if ready else None
        if "pinned_key" in x.state:
            pinned = x.state["pinned_key"]
            for key in ready:
                if key.name == pinned:
                    return key
        strategy = self._strategy
        if strategy == "least_used":
            least, used, equal = ready[0], -1.0, None
            for key in ready:
                share = key.tokens.passed_to(now) / key.weight
                if used < 0 or share < used:
                    least, used, equal = key, share, None
                elif share == used:
                    equal = [*(equal or (least,)), key]
            if equal is None:
                return least
            ready = equal
        elif strategy == "priority":
            return ready[0]
        elif strategy == "random":
            return at_random(ready, self._random())
        elif strategy == "session":
            return of_session(ready, x)
        elif strategy == "most_quota":
            most = max([key.share for key in ready])
            ready = [key for key in ready if key.share == most]
        return by_turns(ready)
