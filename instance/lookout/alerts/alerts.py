"""The alerts of an instance: their rules, and the look at all of them by time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.core.writer import LedgerEvent
from instance.lookout.alerts import delivery_store, store
from instance.lookout.alerts.call_windows import CallWindows
from instance.lookout.alerts.deliveries import Deliveries
from instance.lookout.alerts.notice import EVENTS, notice
from instance.lookout.alerts.rule import CALL_METRICS, GAUGE_METRICS, Rule
from instance.lookout.alerts.standing import Change, Standing, step
from instance.lookout.alerts.store import Kept

if TYPE_CHECKING:
    from instance.core.core import Core

RULES_MAX = 200
NS_PER_HOUR = 3600 * 10**9

Gauge = Callable[[Mapping[str, str], int], float | None]
"""`(filter, window in seconds)` -> value; `None` without data."""


class Alerts:
    """One for each instance. `feed` takes calls, `evaluate` looks at every rule; both are the module alertpulse's to call,
    which also gives `deliveries`. `gauges` are the values that others know, by metric."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.kept: dict[int, Kept] = {}
        self.gauges: dict[str, Gauge] = {}
        self.deliveries: Deliveries | None = None
        self.for_s, self.cooldown_s = 30, 3600
        """What a new rule has unless it says otherwise."""
        self.allow_private = False
        """Whether notices may go to private addresses."""
        self.values: dict[int, tuple[float | None, int]] = {}
        """Value and time of the last look at each rule."""
        self._windows = CallWindows(core)
        self.feed = self._windows.feed
        """Takes a call that is over."""
        self._usual: dict[int, tuple[int, float | None]] = {}
        """The hour of which it is, and the usual value that a rule is compared with."""
        self._loaded = False
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Know the rules that are stored; the first call reads them."""
        async with self._lock:
            if not self._loaded:
                self.kept = {kept.rule.id: kept for kept in await self._core.database.read(store.rules)}
                self._loaded = True
                self._make_windows()

    async def begin(self, first: Sequence[Rule]) -> None:
        """Make the first rules, once in the life of the database."""
        await self.load()
        if await self._core.writer.write(store.begin):
            taken = {kept.rule.name for kept in self.kept.values()}
            for rule in first:
                if rule.name not in taken:
                    await self.save(rule, {})

    @property
    def firing(self) -> int:
        """How many rules fire now."""
        return sum(kept.rule.enabled and kept.standing.state == "firing" for kept in self.kept.values())

    def one(self, rule_id: int) -> Kept:
        """A rule; raises `not_found`."""
        kept = self.kept.get(rule_id)
        if kept is None:
            raise StockyardError("not_found", f"There is no alert {rule_id}.")
        return kept

    async def save(self, rule: Rule, secrets: Mapping[str, Any], events: Sequence[LedgerEvent] = ()) -> Rule:
        """Store a rule, a new one (`id` 0) or a changed one. Raises `already_exists`, `conflict`."""
        if not rule.id and len(self.kept) >= RULES_MAX:
            raise StockyardError("conflict", f"There are {RULES_MAX} alerts; delete one first.")
        sealed = self._core.secrets.seal(orjson.dumps(dict(secrets)), b"alert")
        try:
            if rule.id:
                await self._core.writer.write(partial(store.update_rule, rule=rule, secrets=sealed), events)
            else:
                made = await self._core.writer.write(partial(store.insert_rule, rule=rule, secrets=sealed), events)
                rule = replace(rule, id=made)
        except sqlite3.IntegrityError:
            raise StockyardError("already_exists", f"There is an alert {rule.name!r}.", param="name") from None
        before = self.kept.get(rule.id)
        if before is None:
            self.kept[rule.id] = Kept(rule, Standing(), sealed, None)
        else:
            before.rule, before.secrets = rule, sealed
            await self._end_if_off(before)
        self._usual.pop(rule.id, None)
        self._make_windows()
        return rule

    async def delete(self, rule_id: int, events: Sequence[LedgerEvent] = ()) -> None:
        """Remove a rule; what it fired for is over."""
        kept = self.one(rule_id)
        kept.rule = replace(kept.rule, enabled=False)
        await self._end_if_off(kept)
        await self._core.writer.write(partial(store.delete_rule, rule_id=rule_id), events)
        del self.kept[rule_id]
        self.values.pop(rule_id, None)
        self._make_windows()

    def channel_of(self, rule_id: int) -> tuple[str, Mapping[str, Any]] | None:
        """A rule's channel with the secrets of its settings."""
        kept = self.kept.get(rule_id)
        if kept is None:
            return None
        return kept.rule.channel, {**kept.rule.channel_config, **self.secrets_of(kept)}

    def secrets_of(self, kept: Kept) -> dict[str, Any]:
        """What of a rule's channel is secret."""
        opened: dict[str, Any] = orjson.loads(self._core.secrets.open(kept.secrets, b"alert"))
        return opened

    def _make_windows(self) -> None:
        self._windows.make(kept.rule for kept in self.kept.values() if kept.rule.enabled)

    async def value(self, rule: Rule) -> tuple[float | None, float | None, list[str]]:
        """The value of a rule's metric now and its threshold (`None` without enough data), and traces to look at."""
        if rule.metric in GAUGE_METRICS:
            gauge = self.gauges.get(rule.metric)
            return (gauge(rule.filter, rule.window_seconds) if gauge is not None else None), rule.threshold, []
        calls = await self._windows.last(rule)
        if calls is None:
            return None, None, []
        enough = calls.calls >= rule.min_requests
        value = calls.value(rule.metric, rule.window_seconds) if enough else None
        return value, await self._threshold(rule, self._core.clock.wall_ns()), calls.samples

    async def _threshold(self, rule: Rule, now_ns: int) -> float | None:
        if not rule.times_usual:
            return rule.threshold
        hour = now_ns // NS_PER_HOUR
        known = self._usual.get(rule.id)
        if known is None or known[0] != hour:
            query = partial(
                store.usual_value,
                metric=rule.metric,
                narrowed=rule.filter,
                window_s=rule.window_seconds,
                now_ns=now_ns,
            )
            known = self._usual[rule.id] = (hour, await self._core.database.read(query))
        return None if known[1] is None else known[1] * rule.times_usual

    async def evaluate(self) -> None:
        """Look at every rule that is on, and tell what changed."""
        await self.load()
        now_ns = self._core.clock.wall_ns()
        for kept in list(self.kept.values()):
            if not kept.rule.enabled:
                continue
            value, threshold, trace_ids = await self.value(kept.rule)
            self.values[kept.rule.id] = (value, now_ns)
            standing, change = step(kept.rule, kept.standing, value, threshold, now_ns)
            if change is not None:
                await self._changed(kept, standing, change, value, threshold, trace_ids, now_ns)
            else:
                kept.standing = standing  # nothing that a restart has to remember
            await asyncio.sleep(0)
        self._windows.forget(now_ns)

    async def _changed(
        self,
        kept: Kept,
        standing: Standing,
        change: Change,
        value: float | None,
        threshold: float | None,
        trace_ids: list[str],
        now_ns: int,
    ) -> None:
        rule = kept.rule
        shown = rule.threshold if threshold is None else threshold
        data = notice(rule, change, value, shown, standing.peak, trace_ids, now_ns)
        tells = standing.told and not rule.is_silent(now_ns)

        def store_it(connection: sqlite3.Connection) -> Standing:
            after = standing
            if change == "fired":
                after = replace(
                    standing, history_id=store.insert_history(connection, rule, data, standing.peak, now_ns)
                )
            elif change == "resolved":
                store.end_history(connection, standing.history_id, standing.peak, now_ns)
            if tells:
                event = EVENTS[change]
                delivery_store.insert(connection, new_id("dlv_"), rule.id, after.history_id, event, data, now_ns)
            if change == "resolved":
                after = Standing("ok", now_ns)
            store.set_standing(connection, rule.id, after, now_ns if change == "fired" else None)
            return after

        kept.standing = await self._core.writer.write(store_it)
        if change == "fired":
            kept.last_fired_ns = now_ns
        if self.deliveries is not None:
            self.deliveries.wake()

    async def _end_if_off(self, kept: Kept) -> None:
        """What a rule fired for is over when the rule is switched off."""
        standing = kept.standing
        if kept.rule.enabled or standing.state == "ok":
            return
        now_ns = self._core.clock.wall_ns()
        kept.standing = Standing("ok", now_ns)

        def end(connection: sqlite3.Connection) -> None:
            if standing.history_id:
                store.end_history(connection, standing.history_id, standing.peak, now_ns)
            store.set_standing(connection, kept.rule.id, Standing("ok", now_ns), None)

        await self._core.writer.write(end)

    async def test(self, rule_id: int) -> dict[str, Any]:
        """Look at one rule now and deliver a notice of it once, whatever it says."""
        kept = self.one(rule_id)
        rule = kept.rule
        value, threshold, trace_ids = await self.value(rule)
        would_fire = value is not None and threshold is not None and rule.holds(value, threshold)
        shown = {"value": value, "would_fire": would_fire}
        if self.deliveries is None:
            return {**shown, "delivered": False, "error": "the module alertpulse is off"}
        now_ns = self._core.clock.wall_ns()
        data = notice(rule, "test", value, threshold or rule.threshold, value or 0.0, trace_ids, now_ns)
        outcome = await self.deliveries.send_now(rule_id, new_id("dlv_"), EVENTS["test"], data)
        return {**shown, "delivered": not outcome.error, **({"error": outcome.error} if outcome.error else {})}

    async def prune(self) -> None:
        """Remove old history."""
        now_ns = self._core.clock.wall_ns()
        await self._core.writer.write(partial(store.prune, now_ns=now_ns))


def is_metric(name: str) -> bool:
    """Whether there is such a metric."""
    return name in CALL_METRICS or name in GAUGE_METRICS
