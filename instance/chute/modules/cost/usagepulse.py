"""usagepulse: what was used, by team, key, user, model, provider and tag; and caps on it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.cost.usage_buckets import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    NS_PER_S,
    TAG,
    Bucket,
    KnownValues,
    add_buckets,
    delete_old,
    position,
    set_position,
    summed,
)
from instance.chute.modules.cost.usage_caps import Cap, CapCounter, Count, dimension_named, fits
from instance.core.errors import StockyardError
from instance.core.timestamps import rfc3339
from instance.lookout.calls_feed import RecordedCall, calls_after, last_call

if TYPE_CHECKING:
    from instance.core.core import Core

SERVICE = "usage"
CALLS_AT_ONCE = 200
LAST_CALLS_S = 5.0
CLEANED_EVERY_NS = 3600 * 10**9
CAPS_MAX = 200
TAGS_MAX = 16

log = logging.getLogger("stockyard.modules")

Dimension = Literal["team", "key", "user", "model", "provider", "project", "operation"]


class UsagePulse(Module):
    """Adds up what recorded calls used, in buckets of a minute, an hour and a day for each value of each dimension: requests,
    errors, tokens, cost, savings. `GET /api/billing/usage` shows and exports them.

    Calls are added after they are recorded, so metering takes nothing of a call's time, and a crash loses or doubles none.
    A value that is empty stands for calls that have none; past `max_values` a day, values count as `other`. Caps refuse a call
    before it costs anything; refused calls use nothing of a cap.
    """

    name: ClassVar[str] = "usagepulse"
    category: ClassVar[str] = "cost"
    group: ClassVar[int] = 1
    summary: ClassVar[str] = "Meters usage by any dimension, and caps it"
    rejects: ClassVar[tuple[str, ...]] = ("usage_cap",)
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    tick_s: ClassVar[float] = 5.0
    migrations: ClassVar[Path | None] = Path(__file__).parent / "usagepulse_migrations"

    class Settings(ModuleSettings):
        dimensions: list[Dimension] = Field(
            default=["team", "key", "user", "model", "provider"], description="What usage is added up by."
        )
        tags: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
            default=["feature"],
            max_length=TAGS_MAX,
            description="Names of tags (`X-Stockyard-Tags: feature=search`) that usage is added up by.",
        )
        caps: list[Cap] = Field(default=[], max_length=CAPS_MAX, description="Limits on requests or tokens.")
        max_values: int = Field(
            default=10_000, ge=1, le=1_000_000, description="Values of a dimension counted apart on one day."
        )
        keep_minute_days: int = Field(default=7, ge=1, le=366, description="Days for which minutes are kept.")
        keep_hour_days: int = Field(default=90, ge=1, le=3660, description="Days for which hours are kept.")
        keep_day_days: int = Field(default=1100, ge=1, le=36_600, description="Days for which days are kept.")

        @model_validator(mode="after")
        def _dimensions_of_caps(self) -> Self:
            for cap in self.caps:
                dimension_named(cap.dimension, self.tags)
            if self.keep_hour_days < self.keep_minute_days or self.keep_day_days < self.keep_hour_days:
                raise ValueError("days are kept at least as long as hours, and hours at least as long as minutes")
            return self

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._caps = [CapCounter(cap, dimension_named(cap.dimension, settings.tags)) for cap in settings.caps]
        named = [*settings.dimensions, *(TAG + tag for tag in settings.tags), *(cap.dimension for cap in self._caps)]
        self.dimensions = tuple(dict.fromkeys(named))
        self._known = KnownValues(settings.max_values)
        self._position = 0
        self._counted_sequence = -1
        self._counting = asyncio.Lock()
        self._cleaned_ns = 0
        self._replaced = False
        self._core: Core

    def hooks(self) -> tuple[str, ...]:
        return ("on_request", "on_finish") if self._caps else ()

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        if isinstance(previous, UsagePulse):
            await self._recorded()
            await previous.catch_up()
            self._position = previous._position
            previous._replaced = True
        else:
            await core.writer.drain()
            self._position = await core.writer.write(_begun)
            await self.catch_up()
        core.services[SERVICE] = self
        before = previous._caps if isinstance(previous, UsagePulse) else []
        now_ns = core.clock.wall_ns()
        for counter in self._caps:
            await core.database.read(partial(_load, counter, now_ns))
        for counter in self._caps:
            for had in before:
                counter.take_over(had)

    async def _recorded(self) -> None:
        """Wait until the calls so far are in the database, for a cap that counts values nobody counted before."""
        if not self._caps:
            return
        try:
            async with asyncio.timeout(LAST_CALLS_S):
                await self._core.writer.drain()
        except TimeoutError:
            log.warning("usagepulse: the last calls are not in the counts of new caps")

    async def stop(self) -> None:
        if self._replaced:
            return
        if self._core.services.get(SERVICE) is self:
            del self._core.services[SERVICE]
        try:
            async with asyncio.timeout(LAST_CALLS_S):
                await self._core.writer.drain()
                await self.catch_up()
                await self._core.writer.write(lambda connection: set_position(connection, self._position, active=False))
        except TimeoutError:
            log.warning("usagepulse: the last calls are added up at the next start")

    def on_request(self, x: Exchange) -> None:
        now_ns = x.started_wall_ns
        counts: list[Count] = []
        for counter in self._caps:
            value = counter.value_of(x)
            if value is None:
                continue
            if not counter.start_ns <= now_ns < counter.end_ns:
                counter.roll(now_ns)
            known = counter.counts
            count = known.get(value)
            if count is not None:
                known.move_to_end(value)
            elif fits(counter, value):
                count = counter.of(value)
            else:
                continue
            requests, tokens = counter.most_requests, counter.most_tokens
            if (requests and count.requests >= requests) or (tokens and count.tokens >= tokens):
                raise self._refusal(x, counter, value, counter.is_used_up(count))
            counts.append(count)
        if counts and not x.dry:
            if len(counts) > 1:
                # Two caps on one dimension and period share their counts; a call counts once in each.
                counts = list({id(count): count for count in counts}.values())
            for count in counts:
                count.requests += 1
            x.state["usagepulse"] = counts

    def _refusal(self, x: Exchange, counter: CapCounter, value: str, used_up: str) -> StockyardError:
        cap = counter.cap
        most = cap.requests if used_up == "requests" else cap.tokens
        retry_s = max(1, -(-(counter.end_ns - x.started_wall_ns) // NS_PER_S))
        named = counter.dimension.removeprefix(TAG)
        x.note("cap", {"dimension": counter.dimension, "value": value, "period": cap.period, used_up: most})
        return StockyardError(
            "usage_cap",
            f"{named} {value!r} has used its {most} {used_up} of this {cap.period}; the next begins at {rfc3339(counter.end_ns)}.",
            headers={"Retry-After": str(retry_s)},
        )

    def on_finish(self, x: Exchange) -> None:
        counts: list[Count] | None = x.state.pop("usagepulse", None)
        if counts is None:
            return
        if x.status == "blocked":
            for count in counts:
                count.requests -= 1
        else:
            tokens = x.usage.input + x.usage.output
            for count in counts:
                count.tokens += tokens

    async def tick(self) -> None:
        await self.catch_up()
        core = self._core
        now = core.clock.mono_ns()
        if not self._cleaned_ns or now - self._cleaned_ns > CLEANED_EVERY_NS:
            self._cleaned_ns = now
            now_s = core.clock.wall_ns() // NS_PER_S
            own = self.settings
            kept = ((MINUTE_S, own.keep_minute_days), (HOUR_S, own.keep_hour_days), (DAY_S, own.keep_day_days))
            for resolution_s, days in kept:
                before_s = now_s - days * DAY_S
                while await core.writer.write(partial(delete_old, resolution_s=resolution_s, before_s=before_s)):
                    pass

    async def catch_up(self) -> None:
        """Return when every call that is in the database is added up."""
        core = self._core
        async with self._counting:
            sequence = core.journal.sequence
            if sequence == self._counted_sequence and not core.writer.lag_bytes:
                return
            whole = not core.writer.lag_bytes
            while True:
                sums, last = await core.database.read(self._next)
                if last == self._position:
                    break
                self._position = await core.writer.write(partial(add_buckets, sums=sums, behind=self._position, n=last))
            self._counted_sequence = sequence if whole else -1

    def _next(self, connection: sqlite3.Connection) -> tuple[dict[Bucket, list[int]], int]:
        """What the next calls add up to, and the place of the last of them. Runs on a reader thread."""
        behind = self._position
        if last_call(connection) < behind:
            behind = 0  # the table was emptied since and counts from 1 again
        calls = calls_after(connection, behind, CALLS_AT_ONCE)
        if not calls:
            return {}, self._position
        metered = [call for call in calls if self._is_metered(call)]
        return summed(connection, metered, self.dimensions, self._known), calls[-1].n

    def _is_metered(self, call: RecordedCall) -> bool:
        own = self.settings
        return any(fnmatchcase(call.model_requested, glob) for glob in own.models) and any(
            fnmatchcase(call.team_id, glob) for glob in own.teams
        )

    def report(self) -> dict[str, Any]:
        return {
            "dimensions": list(self.dimensions),
            "caps": [
                {"dimension": counter.dimension, "period": counter.cap.period, "values": len(counter.counts)}
                for counter in self._caps
            ],
        }


def _begun(connection: sqlite3.Connection) -> int:
    """The place from which to count: after a crash where it was left, else behind what was recorded while the module was off."""
    n, active = position(connection)
    if not active:
        n = last_call(connection)
        set_position(connection, n, active=True)
    return n


def _load(counter: CapCounter, now_ns: int, connection: sqlite3.Connection) -> None:
    counter.load(connection, now_ns)
