"""What was observed of one tenant, and the times that decisions go by: the inputs of `plan`, plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from control_plane.domain.tenants import Epoch
from control_plane.reconcile.ports import Activity, Probe, VolumeState
from control_plane.runtimes.protocol import Observed, RunState

MOST_PATIENCE = 4.0  # times as long as a first start


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a tenant. What could not be asked is None, and nothing is concluded from it."""

    instance: Observed | None = None
    linked: bool | None = None  # None: no link; False: a link to an earlier socket
    probe: Probe | None = None
    activity: Activity | None = None
    volume: VolumeState = field(default_factory=VolumeState)
    epochs: tuple[Epoch, ...] = ()  # oldest first
    registered: int | None = None  # the epoch being replicated to
    backups_up: bool = True  # False: `registered` is not known
    unready_s: float = 0.0  # for how long the instance has been alive and not ready
    failures: int = 0  # in a row, until now
    revision: str = ""  # of the spec that it would be started from now
    verify_requested: bool = False

    @property
    def alive(self) -> bool:
        """An instance exists that may write the volume."""
        return self.instance is not None and self.instance.alive

    @property
    def paused(self) -> bool:
        """It is frozen in memory."""
        return self.instance is not None and self.instance.state is RunState.PAUSED

    @property
    def answers(self) -> bool:
        """It says that it is ready, or drained."""
        return not self.paused and self.probe is not None and (self.probe.ready or self.probe.draining)

    def epoch(self, n: int) -> Epoch | None:
        """The record of an epoch."""
        return next((each for each in self.epochs if each.n == n), None)

    def is_closed(self, n: int) -> bool:
        """True for an epoch that had its last backup."""
        found = self.epoch(n)
        return found is not None and found.closed_at is not None


@dataclass(frozen=True, slots=True)
class Policy:
    """Deadlines and schedules, in seconds."""

    drain_s: float = 10.0  # for running calls to finish
    stop_grace_s: float = 12.0  # from SIGTERM to SIGKILL; more than the instance's own 10 s
    start_s: float = 30.0  # until a started instance must be ready, see `patience_s`
    unanswered_s: float = 30.0  # until a routed instance that answers nobody is restarted
    confirm_every_s: float = 30.0  # while there are calls
    verify_first_s: float = 300.0  # after an epoch's first confirmation
    verify_every_s: float = 86_400.0
    usage_every_s: float = 60.0  # between two readings of its counters while it is awake
    verify_unchanged_every_s: float = 7 * 86_400.0  # a backup that was written no more since it was verified
    verify_again_s: float = 3_600.0  # after a last backup did not verify
    schedule_margin_s: float = 60.0  # be awake so long before the instance has something to do
    schedule_patience_s: float = 600.0  # for which an idle instance is kept awake for what is overdue

    def patience_s(self, failures: int) -> float:
        """How long a start may take. On a machine that has too much to do, ending it only to begin again makes it worse."""
        return self.start_s * min(MOST_PATIENCE, 2.0 ** min(failures, 16))
