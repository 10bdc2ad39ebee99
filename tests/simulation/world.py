"""The simulated machine as it truly is: instances, volumes, replicas, links; what the control plane only gets to see.

Calls are numbered; a database is the list of calls it holds, so that nothing else is needed to say what was lost.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from control_plane.domain.tenants import Generation
from control_plane.reconcile.ports import VolumeState
from control_plane.runtimes.protocol import RunState

READ = "calls"  # beside the counters of a simulated reading: the calls that they count
START_WALL = 1_000_000.0  # wall clock at the start


@dataclass(frozen=True, slots=True)
class Pushed:
    """A desired state as an instance keeps it: its generation, and of each key's digest the id and the expiry."""

    generation: Generation
    keys: Mapping[str, tuple[int, float | None]]


@dataclass
class Database:
    """`life` is new for every restored copy: two lives must never write one replica."""

    life: int
    epoch: int
    calls: list[int] = field(default_factory=list)
    txid: int = 0
    state: Pushed | None = None
    sound: bool = True
    scheduled_at: float | None = None  # wall time; kept in the database, as an app would

    @property
    def generation(self) -> Generation | None:
        """Of the state that was applied last."""
        return self.state.generation if self.state is not None else None


@dataclass
class Volume:
    """A data folder; deleting it by hand makes another object of it."""

    database: Database | None = None
    journal: list[int] = field(default_factory=list)
    epoch: int | None = None
    replicated: bool = False
    restored_for: float | None = None
    rejected: bool = False


@dataclass
class Replica:
    """What an object store holds of one epoch: the calls, and when it held how many."""

    lives: set[int] = field(default_factory=set)
    calls: list[int] = field(default_factory=list)
    txid: int = 0
    marks: list[tuple[float, int, int, Pushed | None]] = field(default_factory=list)  # wall time, calls, txid, state
    readable: bool = True


@dataclass
class Instance:
    """A running instance holds its volume's folder open, whatever becomes of the name."""

    slug: str
    run_id: str
    epoch: int
    revision: str
    volume: Volume
    state: RunState
    ready_at: float
    works: bool = True  # False: it never gets ready
    draining: bool = False
    in_flight: int = 0
    last_call_at: float = 0.0  # monotonic
    called_at: float | None = None  # wall clock
    exit_code: int | None = None
    by_hand: bool = False  # somebody froze it
    slow_to_stop: float = 0.0
    started_at: float = 0.0
    made_at: float = 0.0  # monotonic


class File(NamedTuple):
    """What was written under a name at some time; never changed, another one takes its place."""

    number: int
    content: bytes


@dataclass
class World:
    """All of it, with the clocks and the dice."""

    chance: random.Random
    wall_offset: float = START_WALL
    latest_wall: float = 0.0  # that it ever was before it was set
    instances: dict[str, Instance] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    staged: dict[str, tuple[Database, float | None, int | None]] = field(default_factory=dict)
    aside: dict[str, Volume] = field(default_factory=dict)
    replicas: dict[tuple[str, int], Replica] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # slug -> run_id of the socket it is a name of
    sockets: dict[str, str] = field(default_factory=dict)  # slug -> run_id that made own.sock last
    fresh: dict[str, bool] = field(default_factory=dict)  # what instance.json says
    registered: dict[str, int] = field(default_factory=dict)
    litestream_up: bool = True
    store_up: bool = True  # the replicas' object store
    reachable: bool = True  # instances, by the control plane; callers reach them all the same
    disk_full: bool = False
    disk_slow: bool = False
    snapshot: dict[str, File] = field(default_factory=dict)  # run/snapshot/ by file name
    spoiled: set[tuple[str, int]] = field(default_factory=set)  # replicas that were destroyed
    ends: dict[str, float] = field(default_factory=dict)  # of keys, written beside the backups
    key_of: dict[int, int] = field(default_factory=dict)  # call -> the id of the key that made it, if one did
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def monotonic(self) -> float:
        """The running loop's time, which is virtual."""
        return asyncio.get_running_loop().time()

    @property
    def now(self) -> float:
        """Wall clock; jumps."""
        return self.monotonic + self.wall_offset

    def number(self) -> int:
        """A number never given before."""
        return next(self.numbers)

    def require_disk(self) -> None:
        """What a write meets when there is no room for it."""
        if self.disk_full:
            raise OSError(errno.ENOSPC, "no space left on device")

    # --- volumes --------------------------------------------------------------------------------------------------------

    def volume_state(self, slug: str) -> VolumeState:
        """As `Volumes.state` tells it."""
        volume = self.volumes.get(slug, Volume())
        staged = self.staged.get(slug)
        kept = self.aside.get(slug)
        return VolumeState(
            database=volume.database is not None,
            epoch=volume.epoch,
            replicated=volume.replicated,
            staged=staged[1] if staged is not None else None,
            staged_epoch=staged[2] if staged is not None else None,
            restored_for=volume.restored_for,
            rejected=volume.rejected,
            aside=(kept.epoch or 0) if kept is not None else None,
        )

    # --- instances ------------------------------------------------------------------------------------------------------

    def make_instance(self, slug: str, epoch: int, revision: str, *, works: bool, ready_in: float) -> Instance:
        """The process exists from now on and opens its volume, making the folder if it was removed."""
        volume = self.volumes.setdefault(slug, Volume())
        works = works and (volume.database is not None or self.fresh.get(slug, False))
        run_id = f"{slug}-{self.number()}"
        instance = Instance(slug, run_id, epoch, revision, volume, RunState.RUNNING, self.monotonic + ready_in, works)
        instance.last_call_at = instance.ready_at
        instance.started_at, instance.made_at = self.now, self.monotonic
        self.instances[slug] = instance
        self.sockets[slug] = run_id
        return instance

    def open_database(self, instance: Instance) -> None:
        """What an instance does before it says that it is ready: open or make the database, take its epoch, fold."""
        volume = instance.volume
        if volume.database is None:
            volume.database = Database(self.number(), instance.epoch)
        if volume.database.epoch != instance.epoch:
            self.fold(volume)  # the journal is of the epoch that the database has
            volume.database.epoch = instance.epoch
            volume.database.txid += 1
        self.fold(volume)

    def is_ready(self, instance: Instance) -> bool:
        """Whether `/ready` would say yes, draining apart."""
        if instance.state is not RunState.RUNNING or not instance.works or self.monotonic < instance.ready_at:
            return False
        if instance.volume.database is None or instance.volume.database.epoch != instance.epoch:
            self.open_database(instance)
        return True

    def do_scheduled(self, instance: Instance) -> bool:
        """What a running instance does by itself when its time has come; True if it did."""
        database = instance.volume.database
        if database is None or database.scheduled_at is None or not self.is_ready(instance):
            return False
        if self.now < database.scheduled_at:
            return False
        database.scheduled_at = None
        return True

    def fold(self, volume: Volume) -> None:
        """From the journal into the database, if there is room."""
        if volume.database is not None and volume.journal and not self.disk_full:
            volume.database.calls += volume.journal
            volume.database.txid += len(volume.journal)
            volume.journal = []

    def socket_of(self, slug: str, run_id: str | None) -> Instance | None:
        """Who accepts connections at a socket: the instance that made it, from when it listens until it ends."""
        instance = self.instances.get(slug)
        if instance is None or instance.run_id != run_id or instance.state is RunState.EXITED:
            return None
        return instance if self.monotonic >= instance.ready_at else None

    def usage(self, volume: Volume) -> dict[str, Any]:
        """What an instance answers when it is asked for its usage: everything its database holds of calls, by key."""
        self.fold(volume)
        calls = volume.database.calls if volume.database is not None else []
        by_key = Counter(self.key_of[each] for each in calls if each in self.key_of)
        return {
            "requests": len(calls),
            "by_key": {str(key): {"requests": count} for key, count in by_key.items()},
        }

    def end_instance(self, instance: Instance, code: int) -> None:
        """It is gone from memory; the engine still lists it as ended. A clean end folds the journal."""
        if code == 0:
            self.fold(instance.volume)
        instance.state, instance.exit_code, instance.in_flight = RunState.EXITED, code, 0

    # --- replicas -------------------------------------------------------------------------------------------------------

    def replicate(self, slug: str) -> Replica | None:
        """What Litestream does for a registered database: copy what is new of whatever stands at that path now."""
        epoch, volume = self.registered.get(slug), self.volumes.get(slug)
        if epoch is None or volume is None or volume.database is None or not (self.litestream_up and self.store_up):
            return None
        replica = self.replicas.setdefault((slug, epoch), Replica())
        database = volume.database
        replica.lives.add(database.life)
        if database.txid > replica.txid or not replica.marks:
            replica.calls = list(database.calls)
            replica.txid = max(database.txid, 1)
            replica.marks.append((self.now, len(replica.calls), replica.txid, database.state))
        return replica
