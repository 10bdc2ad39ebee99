"""What goes wrong by itself: machines, disks, clocks, and people with root access."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from control_plane.runtimes.protocol import RunState
from tests.simulation.mood import Mood
from tests.simulation.sim_store import Rows, Tables
from tests.simulation.world import World

COPIES_KEPT = 30
Misfortune = Callable[[str], None]


@dataclass
class Copy:
    """The control plane's database as its replica held it at some moment, and what was true then."""

    at: float  # monotonic
    rows: Rows
    counted: dict[str, set[int]]


class Misfortunes:
    """Each `something` is one of them; `cease` mends what does not mend itself."""

    def __init__(
        self,
        world: World,
        tables: Tables,
        chance: random.Random,
        kill_plane: Callable[[], None],
        kill_activator: Callable[[], None],
        mood: Mood,
    ) -> None:
        self._world = world
        self._tables = tables
        self._chance = chance
        self._kill_plane = kill_plane
        self._kill_activator = kill_activator
        self._mood = mood
        self._copies: list[Copy] = []
        self._incarnations = 1
        self.unreadable: set[str] = set()
        self.orphans: set[str] = set()

    def something(self) -> None:
        """One of them."""
        slugs = list(self._tables.tenants)
        slug = self._chance.choice(slugs) if slugs else "nobody"
        self._chance.choice(self._kinds())(slug)

    def _kinds(self) -> Sequence[Misfortune]:
        spoils = (self._spoil_replica, self._truncate_replica, self._lose_replica)
        losses = (self._lose_plane, self._lose_machine)
        died = (self._power_of_plane, self._power_of_activator)
        match self._mood:
            case Mood.BAD_DISKS:
                return (self._delete_folder, self._delete_folder, self._chance.choice(spoils))
            case Mood.LOST_PLANES if self._chance.random() < 0.04:
                return (self._spoil_replica,)
            case Mood.LOST_PLANES:
                return (*losses, self._lose_plane, self._delete_folder, self._power_of_plane, self._jump)
            case Mood.BUSY_AND_IDLE:
                return (*died, *died, self._cut_off, self._lose_store)
        if self._chance.random() < 0.08:
            return (*losses, self._lose_plane, self._spoil_replica)
        common = (self._crash, self._remove_by_hand, self._hang, self._pause_by_hand, self._delete_folder)
        machine = (self._restart_litestream, self._lose_store, self._jump, self._orphan, self._stale_link)
        return (*common, *machine, *died, self._fill_disk, self._slow_disk, self._cut_off)

    def copy_plane(self) -> None:
        """What Litestream does with the control plane's own database."""
        if self._world.litestream_up and self._world.store_up:
            counted = {slug: set(calls) for slug, calls in self._tables.invariants.counted.items()}
            self._copies = [*self._copies[-COPIES_KEPT:], Copy(self._world.monotonic, self._tables.copy(), counted)]

    def cease(self) -> None:
        """The machine and the object store are well again."""
        self._world.litestream_up = self._world.store_up = self._world.reachable = True
        self._world.disk_full = self._world.disk_slow = False
        for instance in self._world.instances.values():
            instance.slow_to_stop = 0.0

    # --- instances ------------------------------------------------------------------------------------------------------

    def _crash(self, slug: str) -> None:
        """kill -9: nothing is folded; what was answered lies in the journal."""
        instance = self._world.instances.get(slug)
        if instance is not None and instance.state is not RunState.EXITED:
            self._world.end_instance(instance, 137)
            self._tables.invariants.at_unread(slug, instance.volume)

    def _remove_by_hand(self, slug: str) -> None:
        self._crash(slug)
        self._world.instances.pop(slug, None)

    def _hang(self, slug: str) -> None:
        instance = self._world.instances.get(slug)
        if instance is not None:
            instance.works = False
            self._tables.invariants.at_unread(slug, instance.volume)

    def _pause_by_hand(self, slug: str) -> None:
        instance = self._world.instances.get(slug)
        if instance is not None and instance.state is RunState.RUNNING:
            instance.state, instance.by_hand = RunState.PAUSED, True

    def _orphan(self, slug: str) -> None:
        """An instance of a tenant that nobody knows."""
        name = f"orphan{self._world.number()}"
        self._world.make_instance(name, 1, "old", works=True, ready_in=0.0)
        self.orphans.add(name)

    # --- data -----------------------------------------------------------------------------------------------------------

    def _delete_folder(self, slug: str) -> None:
        self._tables.invariants.at_loss(slug, self._world.volumes.pop(slug, None))

    def _fill_disk(self, slug: str) -> None:
        self._for_a_while("disk_full", True)

    def _slow_disk(self, slug: str) -> None:
        self._for_a_while("disk_slow", True)

    def _spoil_replica(self, slug: str) -> None:
        """The newest epoch's backup can no longer be read."""
        epochs = [epoch for owner, epoch in self._world.replicas if owner == slug]
        if epochs:
            self._world.replicas[slug, max(epochs)].readable = False
            self._spoiled(slug, max(epochs))

    def _truncate_replica(self, slug: str) -> None:
        """The newest part of the newest backup that is at rest is gone, and what is left restores."""
        epochs = [epoch for owner, epoch in self._world.replicas if owner == slug]
        if epochs and slug not in self._world.registered:
            replica = self._world.replicas[slug, max(epochs)]
            if len(replica.marks) > 1:
                del replica.marks[len(replica.marks) // 2 + 1 :]
                _, calls, replica.txid, _ = replica.marks[-1]
                self._tables.invariants.at_replica_lost(slug, max(epochs), replica.calls[calls:])
                del replica.calls[calls:]
                self._spoiled(slug, max(epochs))

    def _lose_replica(self, slug: str) -> None:
        """The newest backup that is at rest is gone altogether."""
        epochs = [epoch for owner, epoch in self._world.replicas if owner == slug]
        if epochs and slug not in self._world.registered:
            lost = self._world.replicas.pop((slug, max(epochs)))
            self._tables.invariants.at_replica_lost(slug, max(epochs), lost.calls)
            self._spoiled(slug, max(epochs))

    def _spoiled(self, slug: str, epoch: int) -> None:
        self.unreadable.add(slug)
        self._world.spoiled.add((slug, epoch))

    def _lose_store(self, slug: str) -> None:
        self._for_a_while("store_up", False)

    # --- the machine ----------------------------------------------------------------------------------------------------

    def _restart_litestream(self, slug: str) -> None:
        """It forgets its registrations."""
        self._world.registered.clear()
        self._for_a_while("litestream_up", False)

    def _cut_off(self, slug: str) -> None:
        """The control plane reaches no instance; callers do."""
        self._for_a_while("reachable", False)

    def _for_a_while(self, what: str, state: bool) -> None:
        setattr(self._world, what, state)
        asyncio.get_running_loop().call_later(self._chance.uniform(0.1, 3.0), setattr, self._world, what, not state)

    def _lose_machine(self, slug: str) -> None:
        """Everything on it is gone. The control plane's database lies elsewhere, or is lost with it."""
        world = self._world
        self._kill_plane()
        self._kill_activator()
        for owner in list(world.volumes):
            self._tables.invariants.at_loss(owner, world.volumes[owner])
            self._tables.invariants.at_loss(owner, world.aside.get(owner))
        for instance in world.instances.values():
            world.end_instance(instance, 137)
        for lost in (world.instances, world.volumes, world.aside, world.staged, world.links, world.sockets):
            lost.clear()
        world.fresh.clear()
        world.registered.clear()
        world.snapshot.clear()
        if self._chance.random() < 0.5:
            self._lose_plane(slug)

    def _lose_plane(self, slug: str) -> None:
        """The control plane's database is lost, and brought back from a copy, not always the newest."""
        if not self._copies:
            return
        self._kill_plane()
        self._world.registered.clear()  # Litestream is stopped for it
        tables = self._tables
        index = -1 if self._chance.random() < 0.5 else self._chance.randrange(len(self._copies))
        copy = self._copies[index]
        del self._copies[index:][1:]
        for owner in copy.rows.tenants:
            if owner not in tables.tenants or (owner in tables.doomed and owner not in copy.rows.doomed):
                self.unreadable.add(owner)  # its backups were being removed
        invariants = tables.invariants
        for owner, calls in invariants.counted.items():
            invariants.uncounted.setdefault(owner, set()).update(calls - copy.counted.get(owner, set()))
        invariants.counted = {owner: set(calls) for owner, calls in copy.counted.items()}
        at_store: dict[str, dict[int, tuple[float, float]]] = {}
        for (owner, epoch), replica in self._world.replicas.items():
            if replica.marks:
                at_store.setdefault(owner, {})[epoch] = replica.marks[0][0], replica.marks[-1][0]
        tables.restore(copy.rows, self._incarnation(), at_store)
        known = {key.sha256 for tenant in copy.rows.tenants.values() for key in tenant.keys}
        invariants.at_plane_restored(known, copy.at)

    def _incarnation(self) -> int:
        self._incarnations += 1
        return self._incarnations

    def _jump(self, slug: str) -> None:
        """The wall clock is set."""
        self._world.latest_wall = max(self._world.latest_wall, self._world.now)
        self._world.wall_offset += self._chance.choice((-3600.0, -30.0, -2.0, 2.0, 30.0, 3600.0))

    def _stale_link(self, slug: str) -> None:
        """A link from before a crash of the machine."""
        self._world.links.setdefault(slug, f"{slug}-0")

    def _power_of_activator(self, slug: str) -> None:
        self._kill_activator()

    def _power_of_plane(self, slug: str) -> None:
        self._kill_plane()
