"""What goes wrong by itself: machines, disks, clocks, and people with root access."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from control_plane.runtimes.protocol import RunState
from tests.simulation.sim_store import Tables
from tests.simulation.world import World


class Misfortunes:
    """Each `something` is one of them; `cease` mends what does not mend itself."""

    def __init__(
        self, world: World, tables: Tables, chance: random.Random, kill_plane: Callable[[], None], bad_disks: bool
    ) -> None:
        self._world = world
        self._tables = tables
        self._chance = chance
        self._kill_plane = kill_plane
        self._bad_disks = bad_disks
        self.unreadable: set[str] = set()
        self.orphans: set[str] = set()

    def something(self) -> None:
        """One of them."""
        slugs = list(self._tables.tenants)
        slug = self._chance.choice(slugs) if slugs else "nobody"
        if self._bad_disks:
            self._chance.choice((self._delete_folder, self._delete_folder, self._spoil_replica))(slug)
            return
        common = (self._crash, self._remove_by_hand, self._hang, self._pause_by_hand, self._delete_folder)
        machine = (self._restart_litestream, self._lose_store, self._jump, self._orphan, self._stale_link)
        rare = (self._spoil_replica,) if self._chance.random() < 0.2 else ()
        self._chance.choice((*common, *machine, *rare, self._power_of_plane))(slug)

    def cease(self) -> None:
        """The machine and the object store are well again."""
        self._world.litestream_up = self._world.store_up = True
        for instance in self._world.instances.values():
            instance.slow_to_stop = 0.0

    # --- instances ------------------------------------------------------------------------------------------------------

    def _crash(self, slug: str) -> None:
        """kill -9: nothing is folded; what was answered lies in the journal."""
        instance = self._world.instances.get(slug)
        if instance is not None and instance.state is not RunState.EXITED:
            self._world.end_instance(instance, 137)

    def _remove_by_hand(self, slug: str) -> None:
        self._crash(slug)
        self._world.instances.pop(slug, None)

    def _hang(self, slug: str) -> None:
        instance = self._world.instances.get(slug)
        if instance is not None:
            instance.works = False

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
        self._world.volumes.pop(slug, None)

    def _spoil_replica(self, slug: str) -> None:
        """The newest epoch's backup can no longer be read."""
        epochs = [epoch for owner, epoch in self._world.replicas if owner == slug]
        if epochs:
            self._world.replicas[slug, max(epochs)].readable = False
            self.unreadable.add(slug)

    def _lose_store(self, slug: str) -> None:
        self._away("store_up")

    # --- the machine ----------------------------------------------------------------------------------------------------

    def _restart_litestream(self, slug: str) -> None:
        """It forgets its registrations."""
        self._world.registered.clear()
        self._away("litestream_up")

    def _away(self, what: str) -> None:
        setattr(self._world, what, False)
        asyncio.get_running_loop().call_later(self._chance.uniform(0.1, 3.0), setattr, self._world, what, True)

    def _jump(self, slug: str) -> None:
        """The wall clock is set."""
        self._world.wall_offset += self._chance.choice((-3600.0, -30.0, -2.0, 2.0, 30.0, 3600.0))

    def _stale_link(self, slug: str) -> None:
        """A link from before a crash of the machine."""
        self._world.links.setdefault(slug, f"{slug}-0")

    def _power_of_plane(self, slug: str) -> None:
        self._kill_plane()
