"""One key of a pool: what it may do now, what it used, and how the provider takes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Literal

from instance.chute.provider_key import ProviderKey

NS = 1_000_000_000
MINUTE_S = 60
COOLDOWN_MAX_S = 900.0
BAD_AFTER = 2
"""Refusals in a row after which a key is set aside."""

State = Literal["ready", "cooling", "limited", "bad", "spent"]


class LastMinute:
    """A sum over the last 60 seconds, in buckets of one."""

    __slots__ = ("_buckets", "_second", "total")

    def __init__(self) -> None:
        self._buckets = [0] * MINUTE_S
        self._second = 0
        self.total = 0

    def add(self, count: int, now_ns: int) -> None:
        second = now_ns // NS
        if second > self._second:
            self.pass_to(now_ns)
        else:
            second = self._second
        self._buckets[second % MINUTE_S] += count
        self.total += count

    def pass_to(self, now_ns: int) -> None:
        """Forget what is older than a minute."""
        second = now_ns // NS
        if second <= self._second:
            return
        for passed in range(min(MINUTE_S, second - self._second)):
            slot = (second - passed) % MINUTE_S
            self.total -= self._buckets[slot]
            self._buckets[slot] = 0
        self._second = second

    def passed_to(self, now_ns: int) -> int:
        """The sum as it is now."""
        if now_ns // NS > self._second:
            self.pass_to(now_ns)
        return self.total

    def frees_s(self, below: int, now_ns: int) -> float:
        """Seconds until the sum is below `below`; 0 when it is."""
        self.pass_to(now_ns)
        left = self.total
        if left < below:
            return 0.0
        for age in range(MINUTE_S - 1, -1, -1):
            left -= self._buckets[(self._second - age) % MINUTE_S]
            if left < below:
                return float(MINUTE_S - age)
        return float(MINUTE_S)


class PooledKey:
    """A key with its limits and its state. Times are nanoseconds: `now_ns` monotonic, `wall_ns` UTC."""

    __slots__ = (
        "_cooling_until_ns",
        "_day",
        "_refusals",
        "_spent_until_ns",
        "_step",
        "bad",
        "current",
        "day_nano",
        "key",
        "models",
        "name",
        "provider",
        "requests",
        "rpm",
        "serves_all",
        "share",
        "tokens",
        "tpm",
        "usd_day_nano",
        "weight",
    )

    def __init__(
        self,
        provider: str,
        name: str,
        secret: str,
        *,
        weight: int = 1,
        models: tuple[str, ...] = ("*",),
        rpm: int = 0,
        tpm: int = 0,
        usd_day: float = 0.0,
    ) -> None:
        self.provider = provider
        self.name = name
        self.key = ProviderKey(name, secret)
        self.weight = weight
        self.models = models
        self.serves_all = "*" in models
        self.rpm = rpm
        self.tpm = tpm
        self.usd_day_nano = round(usd_day * 1e9)
        self.requests = LastMinute()
        self.tokens = LastMinute()
        self.day_nano = 0
        self.share = 1.0
        """What the provider last said is left of its limits, 0 to 1."""
        self.current = 0
        """Counter of the smooth weighted round-robin."""
        self.bad = False
        self._day = 0
        self._refusals = 0
        self._step = 0
        self._cooling_until_ns = 0
        self._spent_until_ns = 0

    def take_over(self, old: PooledKey) -> None:
        """Go on with the state of the same key under other settings."""
        self.requests, self.tokens = old.requests, old.tokens
        self.day_nano, self._day = old.day_nano, old._day
        self.share = old.share
        self.bad, self._refusals, self._step = old.bad, old._refusals, old._step
        self._cooling_until_ns, self._spent_until_ns = old._cooling_until_ns, old._spent_until_ns

    def serves(self, model: str) -> bool:
        return self.serves_all or any(fnmatchcase(model, glob) for glob in self.models)

    def is_free(self, now_ns: int, wall_ns: int) -> bool:
        """Whether it may be used now: `free_in_s` says 0."""
        if self.bad or self._spent_until_ns > wall_ns or self._cooling_until_ns > now_ns:
            return False
        # A sum that nobody let the past go from is never too small.
        most = self.rpm
        if most and self.requests.total >= most and self.requests.passed_to(now_ns) >= most:
            return False
        most = self.tpm
        if most and self.tokens.total >= most and self.tokens.passed_to(now_ns) >= most:
            return False
        return not self.usd_day_nano or self._today(wall_ns) < self.usd_day_nano

    def free_in_s(self, now_ns: int, wall_ns: int) -> float | None:
        """Seconds until it may be used: 0 now, `None` not before somebody looks after it."""
        if self.bad:
            return None
        waits = 0.0
        if self._spent_until_ns > wall_ns:
            waits = (self._spent_until_ns - wall_ns) / NS
        if self._cooling_until_ns > now_ns:
            waits = max(waits, (self._cooling_until_ns - now_ns) / NS)
        if self.rpm:
            waits = max(waits, self.requests.frees_s(self.rpm, now_ns))
        if self.tpm:
            waits = max(waits, self.tokens.frees_s(self.tpm, now_ns))
        if self.usd_day_nano and self._today(wall_ns) >= self.usd_day_nano:
            waits = max(waits, _to_tomorrow_s(wall_ns))
        return waits

    def state(self, now_ns: int, wall_ns: int) -> State:
        if self.bad:
            return "bad"
        if self._spent_until_ns > wall_ns:
            return "spent"
        if self._cooling_until_ns > now_ns:
            return "cooling"
        return "limited" if self.free_in_s(now_ns, wall_ns) else "ready"

    def began(self, now_ns: int) -> None:
        """A call goes out with it."""
        self.requests.add(1, now_ns)

    def answered(self, share: float | None) -> None:
        """The provider took it."""
        self._refusals = 0
        self._step = 0
        if share is not None:
            self.share = share

    def used(self, tokens: int, nano: int, now_ns: int, wall_ns: int) -> None:
        """What a call with it came to."""
        self.tokens.add(tokens, now_ns)
        self.day_nano = self._today(wall_ns) + nano

    def cool(self, asked_s: float | None, cooldown_s: float, now_ns: int) -> float:
        """A 429: leave it alone as long as the provider asks, else for a time that doubles. The seconds that are."""
        self.share = 0.0
        if asked_s is None:
            asked_s = min(COOLDOWN_MAX_S, cooldown_s * 2**self._step)
            self._step = min(self._step + 1, 20)
        self._cooling_until_ns = now_ns + round(asked_s * NS)
        return asked_s

    def refused(self) -> bool:
        """The provider refused it; whether it is set aside now."""
        self._refusals += 1
        if self._refusals >= BAD_AFTER:
            self.bad = True
        return self.bad

    def spent(self, wall_ns: int) -> None:
        """Its account is out of credit: set aside until the next day (UTC)."""
        self._spent_until_ns = wall_ns + round(_to_tomorrow_s(wall_ns) * NS)

    def reset(self) -> None:
        """As if nothing had happened to it; what it used is kept."""
        self.bad = False
        self._refusals = self._step = 0
        self._cooling_until_ns = self._spent_until_ns = 0
        self.share = 1.0

    def _today(self, wall_ns: int) -> int:
        day = wall_ns // (86_400 * NS)
        if day != self._day:
            self._day = day
            self.day_nano = 0
        return self.day_nano


def _to_tomorrow_s(wall_ns: int) -> float:
    now = datetime.fromtimestamp(wall_ns / NS, UTC)
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (tomorrow - now).total_seconds()
