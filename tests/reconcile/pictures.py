"""Tenants and sightings to decide about: an awake, healthy one, and how others differ from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from control_plane.domain.tenants import Desired, Epoch, Generation, Status, Tenant
from control_plane.reconcile.ports import Activity, Probe, VolumeState
from control_plane.reconcile.seen import Policy, Seen
from control_plane.runtimes.protocol import Observed, RunState

NOW = 100_000.0
GENERATION = Generation(1, 3)
POLICY = Policy()


def tenant(**changes: Any) -> Tenant:
    """One that runs in epoch 2 and was called ten seconds ago."""
    made = Tenant("acme", 1, "free", "local", Desired.RUNNING, "", "image", GENERATION, 2, NOW - 50_000)
    made.last_request_at, made.status, made.applied, made.since = NOW - 10, Status.RUNNING, GENERATION, NOW - 900
    return replace(made, **changes)


def instance(state: RunState = RunState.RUNNING, **changes: Any) -> Observed:
    """An instance of epoch 2."""
    return replace(Observed("acme", state, 2, "rev", "image", "run1"), **changes)


def epoch(n: int, confirmed: int | None = 7, **changes: Any) -> Epoch:
    """An epoch, confirmed and verified a moment ago."""
    verified = NOW - 5 if confirmed is not None else None
    parent = n - 1 if n > 1 else None
    made = Epoch(
        "acme", n, parent, NOW - 1_000 + n, confirmed_txid=confirmed, confirmed_at=NOW - 5, verified_at=verified
    )
    return replace(made, **changes)


def seen(**changes: Any) -> Seen:
    """The healthy sight of it: routed, ready, backed up, nothing to do."""
    made = Seen(
        instance=instance(),
        linked=True,
        probe=Probe(ready=True, draining=False, generation=GENERATION, epoch=2),
        activity=Activity(0, 10.0, NOW - 10),
        volume=VolumeState(database=True, epoch=2, replicated=True),
        epochs=(epoch(1), epoch(2)),
        registered=2,
        revision="rev",
    )
    return replace(made, **changes)


def idle(seconds: float) -> dict[str, Any]:
    """Changes to `seen` of one that was not called for so long."""
    return {"activity": Activity(0, seconds, NOW - seconds)}


def gone(**changes: Any) -> Seen:
    """Nothing of it runs."""
    nothing: dict[str, Any] = {"instance": None, "linked": None, "probe": None, "activity": None, "registered": None}
    return seen(**(nothing | changes))


def paused(**changes: Any) -> Seen:
    """It naps."""
    napping: dict[str, Any] = {"instance": instance(RunState.PAUSED), "linked": None, "probe": None, "activity": None}
    return seen(**(napping | changes))
