"""The reconciler's ports with a watch on them: each effect is counted by its outcome and timed; nothing else changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast

from control_plane.metrics.instruments import Instruments
from control_plane.reconcile.ports import Backups, Edge, Instances, Store
from control_plane.runtimes.protocol import Runtime

T = TypeVar("T")
RUNTIME = ("start", "pause", "resume", "stop", "remove")
EDGE = ("link", "unlink")
BACKUPS = ("register", "unregister", "sync_wait", "restore", "verify", "destroy")
INSTANCES = ("push_state", "drain", "usage")
ASKED_MOST_S = 300.0  # a start that took longer than that was not what was asked for then


class Watched:
    """Stands for a port: what `names` holds is counted as `AREA.NAME`, everything else is passed through."""

    def __init__(self, port: Any, area: str, names: Collection[str], instruments: Instruments) -> None:
        self._port = port
        self._area = area
        self._names = names
        self._instruments = instruments

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name not in self._names:
            return method
        watched = _timed(method, f"{self._area}.{name}", self._instruments)
        setattr(self, name, watched)  # found at once from now on
        return watched


class Starts:
    """How long tenants take from being asked for to being routed to, seen at the store and at the edge."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._asked: dict[str, float] = {}

    def asked(self, slugs: Collection[str]) -> None:
        """Somebody wrote something about these tenants."""
        now = time.monotonic()
        self._asked |= dict.fromkeys(slugs, now)

    def routed(self, slug: str) -> None:
        """It can be called now."""
        asked = self._asked.pop(slug, None)
        if asked is not None and (took := time.monotonic() - asked) < ASKED_MOST_S:
            self._instruments.start_seconds.observe(took)


def watched_runtime(runtime: Runtime, instruments: Instruments) -> Runtime:
    """The runtime, its effects counted."""
    return cast(Runtime, Watched(runtime, "runtime", RUNTIME, instruments))


def watched_backups(backups: Backups, instruments: Instruments) -> Backups:
    """The backups, their effects counted."""
    return cast(Backups, Watched(backups, "backups", BACKUPS, instruments))


def watched_instances(instances: Instances, instruments: Instruments) -> Instances:
    """The instances, what is asked of them counted."""
    return cast(Instances, Watched(instances, "instances", INSTANCES, instruments))


def watched_edge(edge: Edge, instruments: Instruments, starts: Starts) -> Edge:
    """The edge, its effects counted and starts ended."""
    return cast(Edge, _StartEnds(edge, "edge", EDGE, instruments, starts))


def watched_store(store: Store, instruments: Instruments, starts: Starts) -> Store:
    """The store, starts begun at what is asked."""
    return cast(Store, _StartBegins(store, "store", (), instruments, starts))


class _StartEnds(Watched):
    def __init__(self, port: Any, area: str, names: Collection[str], instruments: Instruments, starts: Starts) -> None:
        super().__init__(port, area, names, instruments)
        self._starts = starts
        self._link = _timed(port.link, f"{area}.link", instruments)

    async def link(self, slug: str) -> None:
        await self._link(slug)
        self._starts.routed(slug)


class _StartBegins(Watched):
    def __init__(self, port: Any, area: str, names: Collection[str], instruments: Instruments, starts: Starts) -> None:
        super().__init__(port, area, names, instruments)
        self._starts = starts

    async def wait_change(self, timeout_s: float) -> set[str]:
        slugs: set[str] = await self._port.wait_change(timeout_s)
        self._starts.asked(slugs)
        return slugs


def _timed(method: Callable[..., Any], action: str, instruments: Instruments) -> Callable[..., Any]:
    done, failed = (instruments.actions.labels(action, outcome) for outcome in ("done", "failed"))
    seconds = instruments.action_seconds.labels(action)

    async def carry_out(*arguments: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            result = await method(*arguments, **named)
        except Exception:
            failed.inc()
            raise
        done.inc()
        seconds.observe(time.perf_counter() - begun)
        return result

    return carry_out
