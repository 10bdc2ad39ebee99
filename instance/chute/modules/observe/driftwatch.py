"""driftwatch: tells when a model starts to answer differently than it did."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field, field_validator

from instance.chute.answer import Delta
from instance.chute.embedding.embedder import Embedder, embedder_of
from instance.chute.embedding.late import EmbedderLate
from instance.chute.embedding.model_files import missing_packages
from instance.chute.exchange import Exchange
from instance.chute.module import TEXT_KINDS, Module, ModuleSettings
from instance.chute.modules.observe.answer_features import TEXT_MAX_CHARS, Features, features_of
from instance.chute.modules.observe.drift_canaries import EMBEDDED_CHARS, Canary, DailyCanaries
from instance.chute.modules.observe.drift_events import DriftEvents
from instance.chute.modules.observe.drift_series import METRICS, Sample
from instance.chute.modules.observe.drift_table import DriftTable

if TYPE_CHECKING:
    from instance.core.core import Core

SERVICE = "drift"
WAITING_MAX = 2000
TAKEN_AT_ONCE = 200
EMBEDDED_AT_ONCE = 60
"""Texts that are embedded in one tick; answers beyond it go without a vector, so that the embedder stays free for calls."""


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
        self._waiting: deque[_Waiting] = deque()
        self._skipped = 0
        self._without_vector = 0
        """Answers that were measured in all but what they are about: the embedder had no time for them."""
        self._embedder: Embedder | None = None
        self._metrics: tuple[str, ...] = ()
        self._ticking = asyncio.Lock()
        self._replaced = False
        self._core: Core
        self.table: DriftTable
        self.events: DriftEvents
        self._canaries: DailyCanaries

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
        before = previous if isinstance(previous, DriftWatch) else None
        self.events = before.events if before is not None else DriftEvents(core)
        self.table = DriftTable(
            core,
            self.events,
            self._metrics,
            baseline_n=own.baseline_n,
            window_n=own.window_n,
            every_n=own.every_n,
            alpha=own.alpha,
            min_effect=own.min_effect,
        )
        self._canaries = DailyCanaries(core, own.canaries, own.canary_hour, self._embedder, self.events)
        if before is not None:
            async with before._ticking:
                self._waiting = before._waiting
                self.table.take_over(before.table)
                before._replaced = True
        else:
            await self.table.load()
            await self.events.load()
        core.services[SERVICE] = self
        core.services["lookout"].alerts.gauges["drift"] = self.events.recent

    async def stop(self) -> None:
        if self._replaced:
            return
        if self._core.services.get(SERVICE) is self:
            del self._core.services[SERVICE]
            self._core.services["lookout"].alerts.gauges.pop("drift", None)
        await self.take()
        await self.table.store(everything=True)

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
        await self.table.store()
        if self.settings.canaries:
            await self._canaries.ask()

    async def take(self) -> None:
        """Measure the answers that wait, and test what is due."""
        async with self._ticking:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(TAKEN_AT_ONCE, len(self._waiting)))]
                features = await asyncio.to_thread(_features, batch)
                vectors: list[Any] = [None] * len(batch)
                if self._embedder is not None:
                    texts = [one.text[:EMBEDDED_CHARS] for one in batch[:EMBEDDED_AT_ONCE]]
                    try:
                        vectors[: len(texts)] = await self._embedder.embed(texts)
                    except EmbedderLate:
                        self._without_vector += len(batch)
                    else:
                        self._without_vector += len(batch) - len(texts)
                for one, measured, vector in zip(batch, features, vectors, strict=True):
                    await self._add(one, measured, vector if one.text else None)

    async def _add(self, one: _Waiting, measured: Features, vector: Any) -> None:
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
        if not await self.table.add(one.series, sample):
            self._skipped += 1

    async def rebase(self, name: str, *, take_window: bool) -> None:
        """Give a series a new baseline: its latest answers, or those to come. Raises `not_found`, `conflict`."""
        series = self.table.restartable(name, take_window=take_window)
        async with self._ticking:
            await self.table.restart(name, series, take_window=take_window)
        await self.table.store()

    def report(self) -> dict[str, Any]:
        return {
            "series": len(self.table.series),
            "waiting": len(self._waiting),
            "skipped": self._skipped,
            "without_vector": self._without_vector,
            "metrics": list(self._metrics),
        }


def _name(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _features(batch: list[_Waiting]) -> list[Features]:
    return [features_of(one.text) for one in batch]
