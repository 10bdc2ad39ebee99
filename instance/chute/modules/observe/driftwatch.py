"""driftwatch: tells when a model starts to answer differently than it did."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field, field_validator

from instance.chute.answer import Delta
from instance.chute.embedding.embedder import Embedder, embedder_of
from instance.chute.embedding.model_files import missing_packages
from instance.chute.exchange import Exchange
from instance.chute.module import TEXT_KINDS, Module, ModuleSettings
from instance.chute.modules.observe import drift_store as store
from instance.chute.modules.observe.answer_features import TEXT_MAX_CHARS, Features, features_of
from instance.chute.modules.observe.drift_canaries import Canary, CanaryFailed, ask, compared
from instance.chute.modules.observe.drift_series import METRICS, DriftSeries, Finding, Sample
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

SERVICE = "drift"
WAITING_MAX = 2000
SERIES_MAX = 100
TAKEN_AT_ONCE = 200
EMBEDDED_AT_ONCE = 60
"""Texts that are embedded in one tick; answers beyond it go without a vector, so that the embedder stays free for calls."""
EMBEDDED_CHARS = 2000
STORED_EVERY_NS = 300 * 10**9
CANARY_AGAIN_NS = 3600 * 10**9
NS_PER_S = 10**9
RECENT_NS = 86_400 * NS_PER_S
RECENT_MAX = 1000

log = logging.getLogger("stockyard.modules")


class _Waiting(NamedTuple):
    series: str
    text: str
    tools: bool
    finish: str
    latency_ms: float
    fingerprint: str
    model_name: str


class _Streamed:
    __slots__ = ("fingerprint", "finish", "model_name", "tools")

    def __init__(self) -> None:
        self.finish = self.fingerprint = self.model_name = ""
        self.tools = False


class DriftWatch(Module):
    """Compares the latest answers of each series (a model, by route and tag) with its first ones: length, sentences,
    refusals, JSON, tool calls, how they finish, latency, language, and what they are about.

    A difference is told when it is significant over all tests of a round and large enough, once, until it is gone. New names
    of the model or its fingerprint are told at once. Canaries are prompts of your own, asked each day. What is kept are numbers
    and vectors, never texts. `GET /api/observe/drift` shows it; the alert metric `drift` counts what began.
    """

    name: ClassVar[str] = "driftwatch"
    category: ClassVar[str] = "observe"
    group: ClassVar[int] = 1
    summary: ClassVar[str] = "Tells when a model starts to answer differently"
    kinds: ClassVar[frozenset[str]] = TEXT_KINDS
    tick_s: ClassVar[float] = 5.0
    migrations: ClassVar[Path | None] = Path(__file__).parent / "driftwatch_migrations"

    class Settings(ModuleSettings):
        baseline_n: int = Field(default=200, ge=30, le=5000, description="Answers of a baseline.")
        window_n: int = Field(default=100, ge=30, le=5000, description="Latest answers that are compared with it.")
        every_n: int = Field(default=50, ge=1, le=5000, description="Answers from one round of tests to the next.")
        alpha: float = Field(default=0.01, gt=0, le=0.2, description="Share of false alarms that a round may have.")
        min_effect: float = Field(default=0.3, ge=0, le=5, description="Least effect that is told (Cohen's d or h).")
        metrics: list[str] = Field(
            default=["*"],
            min_length=1,
            max_length=len(METRICS),
            description=f"What is compared: * or {', '.join(METRICS)}.",
        )
        by_tag: str = Field(
            default="", max_length=64, description="Name of a tag whose values are series of their own."
        )
        canaries: list[Canary] = Field(default=[], max_length=50, description="Prompts that are asked each day.")
        canary_hour: int = Field(
            default=3, ge=0, le=23, description="Hour of the day, local, from which they are asked."
        )
        sample_pct: float = Field(default=100.0, ge=0, le=100, description="Share of the answers that are looked at.")

        @field_validator("metrics")
        @classmethod
        def _known(cls, metrics: list[str]) -> list[str]:
            for metric in metrics:
                if metric != "*" and metric not in METRICS:
                    raise ValueError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
            return metrics

        @field_validator("canaries")
        @classmethod
        def _named_once(cls, canaries: list[Canary]) -> list[Canary]:
            if len({canary.name for canary in canaries}) < len(canaries):
                raise ValueError("two canaries have the same name")
            return canaries

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._share = settings.sample_pct / 100
        self._by_tag = settings.by_tag
        self.series: dict[str, DriftSeries] = {}
        self._waiting: deque[_Waiting] = deque()
        self._recent: deque[tuple[int, str]] = deque(maxlen=RECENT_MAX)
        self._skipped = 0
        self._stored_ns = 0
        self._canary_not_before_ns: dict[str, int] = {}
        self._embedder: Embedder | None = None
        self._metrics: tuple[str, ...] = ()
        self._ticking = asyncio.Lock()
        self._replaced = False
        self._core: Core

    def hooks(self) -> tuple[str, ...]:
        return ("on_delta", "on_finish") if self._share else ()

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        own = self.settings
        wanted = set(METRICS if "*" in own.metrics else own.metrics)
        if "embedding" in wanted and ("embedding" in own.metrics or not missing_packages()):
            self._embedder = embedder_of(core)
            await self._embedder.load()
        else:
            wanted.discard("embedding")
        self._metrics = tuple(metric for metric in METRICS if metric in wanted)
        if isinstance(previous, DriftWatch):
            async with previous._ticking:
                self.series, self._waiting, self._recent = previous.series, previous._waiting, previous._recent
                previous._replaced = True
            for series in self.series.values():
                series.baseline_n = own.baseline_n
                del series.baseline[own.baseline_n :]
                series.window = deque(series.window, maxlen=own.window_n)
        else:
            await self._load(core)
        core.services[SERVICE] = self
        core.services["lookout"].alerts.gauges["drift"] = self.recent

    async def _load(self, core: Core) -> None:
        own = self.settings
        for name, samples in (await core.database.read(partial(store.baselines, limit=SERIES_MAX))).items():
            series = self.series[name] = DriftSeries(own.baseline_n, own.window_n)
            for sample in samples[: own.baseline_n]:
                series.add(sample)
            series.changed = False
        for event_id, name, metric in await core.database.read(store.open_events):
            if name in self.series:
                self.series[name].open[metric] = event_id
        since_ns = core.clock.wall_ns() - RECENT_NS
        rows = await core.database.read(partial(store.events, limit=RECENT_MAX, since_ns=since_ns))
        self._recent.extend((row[7], row[1]) for row in reversed(rows))

    async def stop(self) -> None:
        if self._replaced:
            return
        if self._core.services.get(SERVICE) is self:
            del self._core.services[SERVICE]
            self._core.services["lookout"].alerts.gauges.pop("drift", None)
        await self.take()
        await self._store(everything=True)

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        obj = delta.obj
        if obj is None:
            return
        seen: _Streamed | None = x.state.get("driftwatch")
        if seen is None:
            seen = x.state["driftwatch"] = _Streamed()
            seen.fingerprint = _name(obj.get("system_fingerprint"))
            seen.model_name = _name(obj.get("model"))
            x.take_texts(self.name, None)
        for choice in obj["choices"]:
            reason = choice.get("finish_reason")
            if reason:
                seen.finish = reason
            part = choice.get("delta")
            if part and "tool_calls" in part and part["tool_calls"]:
                seen.tools = True

    def on_finish(self, x: Exchange) -> None:
        answer = x.answer
        target = answer.target if answer is not None else None
        if answer is None or target is None or x.status != "ok" or x.cache in ("hit", "semantic"):
            return
        if self._share < 1.0 and random() >= self._share:
            return
        if len(self._waiting) >= WAITING_MAX:
            self._skipped += 1
            return
        series = target.label
        route = x.route
        if route is not None:
            series = f"{series} route={route.pattern}"
        tag = self._by_tag
        if tag and tag in x.tags:
            series += f" {tag}={x.tags[tag]}"
        if x.stream:
            seen = x.state.get("driftwatch") or _Streamed()
            text, tools = "".join(x.text_out), seen.tools
            finish, fingerprint, model_name = seen.finish, seen.fingerprint, seen.model_name
        else:
            obj = answer.obj
            choices = obj.get("choices") if obj else None
            if not obj or not choices:
                return
            choice = choices[0]
            message = choice.get("message") or {}
            text = message.get("content") or choice.get("text")
            if type(text) is not str:
                text = ""
            tools = "tool_calls" in message and bool(message["tool_calls"])
            finish = _name(choice.get("finish_reason"))
            fingerprint = _name(obj["system_fingerprint"]) if "system_fingerprint" in obj else ""
            model_name = _name(obj.get("model"))
        if text or tools:
            seen_of = (
                series,
                text[:TEXT_MAX_CHARS],
                tools,
                finish,
                x.upstream_ns / 1e6,
                fingerprint,
                model_name,
            )
            # As `_Waiting(...)`, but for a call of Python's own.
            self._waiting.append(tuple.__new__(_Waiting, seen_of))

    async def tick(self) -> None:
        await self.take()
        await self._store()
        if self.settings.canaries:
            await self._ask_canaries()

    async def take(self) -> None:
        """Measure the answers that wait, and test what is due."""
        async with self._ticking:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(TAKEN_AT_ONCE, len(self._waiting)))]
                features = await asyncio.to_thread(_features, batch)
                vectors: list[Any] = [None] * len(batch)
                if self._embedder is not None:
                    texts = [one.text[:EMBEDDED_CHARS] for one in batch[:EMBEDDED_AT_ONCE]]
                    vectors[: len(texts)] = await self._embedder.embed(texts)
                for one, measured, vector in zip(batch, features, vectors, strict=True):
                    await self._add(one, measured, vector if one.text else None)

    async def _add(self, one: _Waiting, measured: Features, vector: Any) -> None:
        series = self.series.get(one.series)
        if series is None:
            if len(self.series) >= SERIES_MAX:
                self._skipped += 1
                return
            series = self.series[one.series] = DriftSeries(self.settings.baseline_n, self.settings.window_n)
        sample = Sample(
            *measured[:4],
            one.tools,
            one.finish,
            one.latency_ms,
            measured.language,
            one.fingerprint,
            one.model_name,
            vector,
        )
        for finding in series.add(sample):
            if finding.metric in self._metrics:
                await self._tell(one.series, finding)
        if series.is_complete and series.is_due(self.settings.every_n):
            own = self.settings
            for finding in await asyncio.to_thread(series.round, self._metrics, own.alpha, own.min_effect):
                await self._settle(one.series, series, finding)

    async def _settle(self, name: str, series: DriftSeries, finding: Finding) -> None:
        """Tell what begins to differ once, and that it is gone once it is."""
        event_id = series.open.get(finding.metric)
        if finding.drifted and event_id is None:
            series.open[finding.metric] = await self._tell(name, finding)
        elif not finding.drifted and event_id is not None:
            del series.open[finding.metric]
            await self._core.writer.write(
                partial(store.end_event, event_id=event_id, now_ns=self._core.clock.wall_ns())
            )

    async def _tell(self, name: str, finding: Finding) -> int:
        now_ns = self._core.clock.wall_ns()
        self._recent.append((now_ns, name))
        log.warning("%s drifted in %s: %s, before %s", name, finding.metric, finding.now, finding.before)
        return await self._core.writer.write(partial(store.begin_event, series=name, finding=finding, now_ns=now_ns))

    async def _store(self, *, everything: bool = False) -> None:
        """Store baselines that are complete now; those that grow still, every few minutes."""
        now = self._core.clock.mono_ns()
        partly = everything or now - self._stored_ns > STORED_EVERY_NS
        if partly:
            self._stored_ns = now
        for name, series in list(self.series.items()):
            if series.changed and (partly or series.is_complete):
                series.changed = False
                samples = series.baseline[:]
                save = partial(store.save_baseline, series=name, samples=samples, now_ns=self._core.clock.wall_ns())
                await self._core.writer.write(save)

    async def rebase(self, name: str, *, take_window: bool) -> None:
        """Give a series a new baseline: its latest answers, or those to come. Raises `not_found`, `conflict`."""
        series = self.series.get(name)
        if series is None:
            raise StockyardError("not_found", f"There is no series {name[:200]!r}.")
        if take_window and len(series.window) < self.settings.window_n:
            raise StockyardError("conflict", f"There are {len(series.window)} answers since the baseline: too few.")
        async with self._ticking:
            series.baseline_n = self.settings.baseline_n
            series.restart(take_window=take_window)
            now_ns = self._core.clock.wall_ns()
            for event_id in series.open.values():
                await self._core.writer.write(partial(store.end_event, event_id=event_id, now_ns=now_ns))
            series.open.clear()
            await self._core.writer.write(partial(store.delete_baseline, series=name))
        await self._store()

    async def _ask_canaries(self) -> None:
        now_ns = self._core.clock.wall_ns()
        local = datetime.fromtimestamp(now_ns / NS_PER_S).astimezone()
        if local.hour < self.settings.canary_hour:
            return
        today = local.date().isoformat()
        for canary in self.settings.canaries:
            if self._canary_not_before_ns.get(canary.name, 0) > now_ns:
                continue
            asked_on, lengths, vectors = await self._core.database.read(partial(store.canary_past, name=canary.name))
            if asked_on == today:
                self._canary_not_before_ns[canary.name] = now_ns + CANARY_AGAIN_NS
                continue
            try:
                text, label = await ask(self._core, canary)
            except CanaryFailed as failure:
                self._canary_not_before_ns[canary.name] = now_ns + CANARY_AGAIN_NS
                log.warning("canary %s was not answered: %s", canary.name, failure)
                continue
            vector = None
            if self._embedder is not None and text:
                vector = (await self._embedder.embed([text[:EMBEDDED_CHARS]]))[0]
            finding = compared(canary.name, text, vector, lengths, vectors)
            if finding is not None:
                await self._tell(label, finding)
            lengths = [*lengths, len(text.split())]
            vectors = [*vectors, *([vector] if vector is not None else [])]
            await self._core.writer.write(
                partial(store.save_canary, name=canary.name, asked_on=today, lengths=lengths, vectors=vectors)
            )

    def recent(self, narrowed: Mapping[str, str], window_s: int) -> float:
        """How many drifts began in the last `window_s`; narrowed by provider and model."""
        since_ns = self._core.clock.wall_ns() - window_s * NS_PER_S
        count = 0
        for at_ns, series in self._recent:
            provider, _, model = series.partition(" ")[0].partition("/")
            fits = fnmatchcase(model, narrowed.get("model", "*")) and provider == narrowed.get("provider", provider)
            count += at_ns >= since_ns and fits
        return float(count)

    def report(self) -> dict[str, Any]:
        return {
            "series": len(self.series),
            "waiting": len(self._waiting),
            "skipped": self._skipped,
            "metrics": list(self._metrics),
        }


def _name(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _features(batch: list[_Waiting]) -> list[Features]:
    return [features_of(one.text) for one in batch]
