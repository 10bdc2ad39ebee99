"""healthcheck: knows which targets are well, by the calls themselves and by probes, and leaves out those that are down."""

from __future__ import annotations

import asyncio
from random import random
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.exchange import Exchange
from instance.chute.failures import is_fault
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.modules.reliability.health_probes import Probes
from instance.chute.modules.reliability.health_table import Health, HealthTable
from instance.core.clock import Clock

if TYPE_CHECKING:
    from instance.chute.provider import Provider
    from instance.chute.targets import Target
    from instance.core.core import Core

JUDGED_BY_ITSELF = frozenset(("timeout_total",))
"""Kinds of failure that may be due to the caller's own limit: they count for nobody."""


class HealthCheck(Module):
    """Takes targets that are down out of a call's targets, but never the last one.

    Passive: each attempt counts; `fail_after` failures in a row make a target suspect, twice as many down, `pass_after`
    successes healthy again. One call each `recheck_s` is let through to a target that is down. Active: every provider is
    probed each `interval_s`.
    """

    name: ClassVar[str] = "healthcheck"
    category: ClassVar[str] = "reliability"
    group: ClassVar[int] = 7
    summary: ClassVar[str] = "Knows which targets are down and sends calls elsewhere"
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        active: bool = Field(default=False, description="Probe every provider by itself.")
        probe: Literal["models", "chat"] = Field(
            default="models",
            description="models asks for the list of models, which is free; chat for one token, which is not.",
        )
        interval_s: float = Field(
            default=30.0, gt=0, le=86_400, description="Seconds between two probes of a provider."
        )
        probe_timeout_s: float = Field(default=5.0, gt=0, le=300, description="Seconds that a probe may take.")
        fail_after: int = Field(
            default=3, ge=1, le=1000, description="Failures in a row that make suspect; twice as many make down."
        )
        pass_after: int = Field(default=2, ge=1, le=1000, description="Successes in a row that make healthy again.")
        recheck_s: float = Field(
            default=20.0, gt=0, le=86_400, description="Seconds after which one call may try a target that is down."
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._clock = Clock()
        self.table = HealthTable(self._clock)
        self._recheck_ns = round(self.settings.recheck_s * 1e9)
        self._pass_after = self.settings.pass_after
        self._probing: asyncio.Task[None] | None = None
        self._core: Core | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._clock = core.clock
        if isinstance(previous, HealthCheck):
            self.table = previous.table
            previous.end_probes()
        else:
            self.table = HealthTable(core.clock)
        self.table.owner = self
        self.table.on_change = self._tell
        core.services["health"] = self.table
        own = self.settings
        if own.active:
            probes = Probes(
                self.table,
                core.services["providers"],
                core.clock,
                kind=own.probe,
                interval_s=own.interval_s,
                timeout_s=own.probe_timeout_s,
                fail_after=own.fail_after,
                pass_after=own.pass_after,
                random=random,
            )
            self._probing = asyncio.create_task(probes.run())
        else:
            # What only a probe would find well again; calls are judged by their targets.
            for provider in self._providers():
                self.table.forget(provider.name)
                provider.health.verdict = ""

    async def stop(self) -> None:
        self.end_probes()
        if self.table.owner is self and self._core is not None:
            self._core.services.pop("health", None)
            for provider in self._providers():
                provider.health.verdict = ""

    def end_probes(self) -> None:
        """Ask providers no more."""
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None

    def _providers(self) -> list[Provider]:
        table = self._core.services.get("providers") if self._core is not None else None
        return table.all() if table is not None else []

    def _tell(self, subject: str, state: Health, reason: str) -> None:
        """What probes found of a provider is what the list of providers shows."""
        for provider in self._providers():
            if provider.name == subject:
                provider.health.verdict = "" if state == "healthy" else state

    def report(self) -> dict[str, Any]:
        """What is not healthy, and the last changes of state."""
        return {"not_healthy": self.table.rows(), "changes": list(self.table.changes)}

    def on_request(self, x: Exchange) -> None:
        if not self.table.out or not x.targets:
            return
        kept: list[Target] = []
        dropped: list[str] = []
        for target in x.targets:
            if self.table.is_down(target) and (x.dry or not self._let_one_through(target)):
                dropped.append(target.label)
            else:
                kept.append(target)
        if not dropped:
            return
        if kept:
            x.targets = kept
            x.note("health", {"dropped": dropped})
        else:
            x.note("health", {"dropped": [], "down": dropped})

    def _let_one_through(self, target: Target) -> bool:
        """Whether this call may find out if the target is back: one each `recheck_s`, and all once one succeeded."""
        condition = self.table.condition(target.label)
        if target.provider.name in self.table.out or condition is None:
            return False
        if condition.passes:
            return True
        now = self._clock.mono_ns()
        if condition.recheck_ns and now - condition.recheck_ns < self._recheck_ns:
            return False
        condition.recheck_ns = now
        return True

    def on_finish(self, x: Exchange) -> None:
        """Judge the targets by the call's attempts."""
        for row in x.attempts:
            error = row["error"]
            if error is None:
                if self.table.conditions:
                    self.table.passed(f"{row['provider']}/{row['model']}", self._pass_after)
            elif error != "cancelled" and error not in JUDGED_BY_ITSELF:
                label = f"{row['provider']}/{row['model']}"
                if is_fault(error, row["status"] if row["status"] != 200 else 502):
                    said = f"it answered {row['status']}" if error == "http" else error.replace("_", " ")
                    self.table.failed(label, said, self.settings.fail_after)
                elif error == "http" and row["status"] != 429:
                    self.table.passed(label, self.settings.pass_after)
