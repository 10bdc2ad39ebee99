"""What an engine that runs instances must do; `process`, `docker` and the simulated one pass the same tests.

An engine knows no tenants: it runs, freezes and ends what a spec describes, and tells what it sees. Every method is
idempotent: asking for what already holds changes nothing. Nothing it promises is believed until `observe` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

LINE_MOST_BYTES = 8_192
TAIL_MOST_BYTES = 4 << 20  # of a log are looked through for its last lines
FOLLOW_POLL_S = 0.25


class RunState(StrEnum):
    """What an engine sees of an instance; one that it does not list at all does not exist."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """All that an instance is started from; nothing of the control plane's own environment is added."""

    name: str  # the tenant's slug
    image: str
    epoch: int
    revision: str  # of this spec; an instance seen with another one is to be restarted
    data_dir: Path
    socket_dir: Path  # holds own.sock; nothing else of the machine is reachable through it
    instance_file: Path  # instance.json, read-only for the instance
    memory_mb: int = 256
    cpus: float = 0.5
    pids: int = 128
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """One instance as the engine sees it now."""

    name: str
    state: RunState
    epoch: int
    revision: str
    image: str
    run_id: str  # another one after every start, unchanged by pause and resume
    pid: int | None = None
    started_at: float = 0.0
    exit_code: int | None = None

    @property
    def alive(self) -> bool:
        """True while it may still write its volume: running, starting or paused."""
        return self.state is not RunState.EXITED


class EngineError(Exception):
    """The engine refused or failed; the message is fit for an operator to read."""


class StopFailed(EngineError):
    """It was asked to end and is still seen alive."""


class Runtime(Protocol):
    """An engine for instances on this machine."""

    async def prepare(self) -> None:
        """Set up what all instances need (networks, firewall rules); called at each start of the control plane."""

    async def observe(self, name: str | None = None) -> list[Observed]:
        """Every instance of this control plane, ended ones included; only `name`'s when it is given."""

    async def start(self, spec: InstanceSpec) -> None:
        """Start it, in place of an ended one; raises `EngineError` if it runs under another revision."""

    async def pause(self, name: str) -> None:
        """Freeze it in memory."""

    async def resume(self, name: str) -> None:
        """Let a frozen one go on."""

    async def stop(self, name: str, grace_s: float) -> None:
        """End it, frozen or not: asked first, killed after `grace_s`; raises `StopFailed` if it lives on."""

    async def remove(self, name: str) -> None:
        """Forget an ended one; its data stays. Raises `EngineError` while it is alive."""

    def logs(self, name: str, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """The last lines it wrote, oldest first; with `follow` those to come too, until the caller has enough.

        Nothing for one that was never started. What it wrote is not trusted: a line is cut at `LINE_MOST_BYTES`.
        """
