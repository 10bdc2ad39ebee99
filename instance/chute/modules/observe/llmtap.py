"""llmtap: statistics of every call, and the choice of whose texts are kept."""

from __future__ import annotations

from pathlib import Path
from random import random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.statistics.prometheus import call_metrics, metric
from instance.chute.statistics.series import Series
from instance.chute.statistics.store import roll_up
from instance.chute.statistics.tally import Tally
from instance.core.principals import has_scope

if TYPE_CHECKING:
    from instance.core.core import Core

FULL_MAX_BYTES = 32 << 20
BEHIND_BYTES = 32 << 20
"""With more than this waiting in the journal no texts are kept, so that calls themselves never are in danger."""
CLEANED_EVERY_NS = 3600 * 10**9
NS_PER_DAY = 86_400 * 10**9
SCHEDULED = "retention"


class LLMTap(Module):
    """Counts every call, also refused and cancelled ones, and decides how much of its texts the record keeps.

    Percentiles come from histograms that can be merged, at most 2 % off. A crash may lose the counts of the last minute;
    the calls' own rows are never lost.
    """

    name = "llmtap"
    category = "observe"
    group = 1
    summary = "Statistics of all calls, and which texts are kept"
    default_enabled = True
    kinds = ALL_KINDS
    tick_s = 5.0
    migrations = Path(__file__).parent / "llmtap_migrations"

    class Settings(ModuleSettings):
        capture_bodies: Literal["none", "cut", "full"] = Field(
            default="cut",
            description="Which texts are kept with the trace: none, cut to max_body_kb, or full. Hosted instances keep none until this is set.",
        )
        max_body_kb: int = Field(
            default=16, ge=1, le=32_768, description="KiB kept of each text when capture_bodies is cut."
        )
        body_sample_pct: float = Field(
            default=100.0, ge=0, le=100, description="Share of calls whose texts are kept; errors always are."
        )
        retention_days: int = Field(default=30, ge=1, le=3650, description="Days for which traces are kept.")
        body_days: int = Field(default=7, ge=0, le=3650, description="Days for which texts are kept.")
        percentiles: list[Annotated[float, Field(gt=0, lt=100)]] = Field(
            default=[50, 95, 99], min_length=1, max_length=10, description="Percentiles of summaries."
        )
        prometheus: bool = Field(default=True, description="Serve /metrics.")

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._capture = {"none": 0, "cut": own.max_body_kb << 10, "full": FULL_MAX_BYTES}[own.capture_bodies]
        self._share = own.body_sample_pct / 100
        self._tally = Tally()
        self._behind = False
        self._plain = False
        self._core: Core | None = None
        self._cleaned_ns = 0

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        if core.hosted is not None and "capture_bodies" not in self.settings.model_fields_set:
            self._capture = 0
        self._plain = bool(self._capture) and self._share >= 1.0
        if isinstance(previous, LLMTap):
            self._tally = previous._tally
        if self.settings.prometheus:
            core.services["metrics"] = self.metrics_text
        elif isinstance(previous, LLMTap):
            core.services.pop("metrics", None)

    async def stop(self) -> None:
        core = self._core
        if core is None:
            return
        core.schedule.set(SCHEDULED, None)
        if core.services.get("metrics") == self.metrics_text:
            del core.services["metrics"]
        await self._tally.write(core, everything=True)

    def on_finish(self, x: Exchange) -> None:
        now = perf_counter_ns()
        answer, status, started_ns = x.answer, x.status, x.started_ns
        target = answer.target if answer is not None else None
        if target is None and x.attempts and x.targets:
            target = x.targets[0]
        self._tally.add(
            (
                x.started_wall_ns,
                target,
                x.principal,
                x.team,
                x.project,
                status,
                x.cache,
                x.error_code,
                x.usage,
                x.cost_lines,
                x.saved_nano,
                now - started_ns,
                x.upstream_ns + x.waited_ns,
                x.first_token_ns - started_ns,
            )
        )
        if self._plain and status != "error" and b"x-stockyard-trace" not in x.headers:
            x.state["capture"] = self._capture
        else:
            self._choose(x)

    def _choose(self, x: Exchange) -> None:
        """Say in `x.state["capture"]` how many bytes of each text the record may keep; nothing said is none."""
        limit = self._capture
        if not limit or self._behind:
            return
        asked = x.headers.get(b"x-stockyard-trace")
        if asked is not None and x.principal is not None:
            if asked == b"meta" and has_scope(x.principal, "content:opt_out"):
                return
            if asked == b"full" and has_scope(x.principal, "content:read"):
                x.state["capture"] = FULL_MAX_BYTES
                return
        if self._share < 1.0 and x.status != "error" and random() >= self._share:
            return
        x.state["capture"] = limit

    async def tick(self) -> None:
        core = self._core
        if core is None:
            return
        self._behind = core.writer.lag_bytes > BEHIND_BYTES
        self._plain = bool(self._capture) and self._share >= 1.0 and not self._behind
        await self._tally.write(core)
        now = core.clock.mono_ns()
        if not self._cleaned_ns or now - self._cleaned_ns > CLEANED_EVERY_NS:
            self._cleaned_ns = now
            now_s = core.clock.wall_ns() // 10**9
            while await core.writer.write(lambda connection: roll_up(connection, now_s)):
                pass
            await self._prune(core)
            await self._schedule(core)
        elif core.schedule.get(SCHEDULED) is None:
            await self._schedule(core)

    async def _prune(self, core: Core) -> None:
        """Let Lookout delete rows and texts that are past their days."""
        lookout = core.services.get("lookout")
        if lookout is not None:
            now_ns = core.clock.wall_ns()
            await lookout.prune(now_ns - self._rows_kept_ns, now_ns - self._texts_kept_ns)

    async def _schedule(self, core: Core) -> None:
        """Say when a sleeping instance has to be awake for that: once a day at most, however much there is to delete."""
        lookout = core.services.get("lookout")
        due_ns = await lookout.prune_due(self._rows_kept_ns, self._texts_kept_ns) if lookout is not None else None
        earliest_ns = core.clock.wall_ns() + NS_PER_DAY
        core.schedule.set(SCHEDULED, None if due_ns is None else max(due_ns, earliest_ns))

    @property
    def _rows_kept_ns(self) -> int:
        return self.settings.retention_days * NS_PER_DAY

    @property
    def _texts_kept_ns(self) -> int:
        return self.settings.body_days * NS_PER_DAY

    async def between(self, start_s: int, end_s: int) -> Series:
        """All calls that began from `start_s` until before `end_s` (seconds since 1970) as one series."""
        if self._core is None:
            return Series()
        return await self._tally.between(self._core, start_s, end_s)

    def metrics_text(self) -> str:
        """What Prometheus gets at `/metrics`: counts since the process began."""
        lines = call_metrics(self._tally.totals())
        core = self._core
        if core is not None:
            registry = core.services.get("registry")
            if registry is not None:
                lines += self._module_metrics(registry.slots.values())
        return "\n".join([*lines, ""])

    def _module_metrics(self, slots: object) -> list[str]:
        actions, seconds = [], []
        for slot in slots:  # type: ignore[attr-defined]
            meter = slot.meter
            if not meter.calls:
                continue
            for action in ("calls", "changed", "blocked", "errors"):
                actions.append(({"module": slot.name, "action": action}, getattr(meter, action)))
            for quantile in (0.5, 0.99):
                value = meter.histogram.quantile_us(quantile)
                if value is not None:
                    seconds.append(({"module": slot.name, "quantile": f"{quantile:g}"}, value / 1e6))
        return [
            *metric("stockyard_module_actions_total", "counter", "What modules did.", actions),
            *metric("stockyard_module_seconds", "summary", "Time of one run of a module's hook.", seconds),
        ]
