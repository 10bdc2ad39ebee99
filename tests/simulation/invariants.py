"""What must hold in every history, whatever fails and whenever the control plane dies. All of it is stated here.

Checked at the moment of the effect that could break it (`at_…`), after every step of the world (`always`), and at the
end, when faults have ceased and time has passed (`finally_`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from control_plane.domain.tenants import Desired, Generation, Status, Tenant
from control_plane.runtimes.protocol import RunState
from tests.simulation.world import Database, Instance, World

APPEARING_S = 1.0  # an instance that is younger may be unknown yet
KEYS_REACH_S = 1.5  # a state this old must have been pushed to an instance that is being routed to


class Violation(AssertionError):
    """An invariant was broken; the message says which and how."""


@dataclass
class Invariants:
    """Watches one world. `generations` has every tenant's desired generations with the time each began."""

    world: World
    generations: dict[str, list[tuple[float, Generation]]] = field(default_factory=dict)
    confirmed: dict[tuple[str, int], list[int]] = field(default_factory=dict)  # calls known durable, by epoch
    asked_for: set[tuple[str, int]] = field(default_factory=set)  # epochs that began with a restore on request
    checks: int = 0
    broken: str = ""  # the first violation; the code under test may swallow what is raised

    def _hold(self, truth: bool, message: str) -> None:
        self.checks += 1
        if not truth:
            self.broken = self.broken or f"at {self.world.monotonic:.3f} s: {message}"
            raise Violation(self.broken)

    # 1. At most one writer for each tenant and epoch.
    def always(self) -> None:
        """After every step."""
        for (slug, epoch), replica in self.world.replicas.items():
            self._hold(len(replica.lives) <= 1, f"{slug}: two lives of its database were copied to epoch {epoch}")
        for slug, run_id in self.world.links.items():
            self._hold(run_id.rpartition("-")[0] == slug, f"{slug} is routed to {run_id}")  # 2. No wrong route, ever.

    def at_start(self, slug: str, epoch: int, tenant: Tenant | None) -> None:
        """No instance starts beside a living one, or on a volume that is not of its epoch."""
        living = self.world.instances.get(slug)
        self._hold(living is None or living.state is RunState.EXITED, f"{slug} is started while an instance lives")
        self._hold(tenant is not None and tenant.epoch == epoch, f"{slug} is started under epoch {epoch}")
        volume = self.world.volumes.get(slug)
        marked = volume is None or volume.epoch == epoch  # None: the folder was removed a moment ago
        self._hold(marked, f"{slug} is started under epoch {epoch} on another epoch's volume")

    # 3. A link only to an instance that is ready, of the present epoch, and has its state.
    def at_link(self, slug: str, instance: Instance | None, tenant: Tenant | None) -> None:
        """Checked against the world at the moment the link is made."""
        self._hold(tenant is not None, f"{slug} is routed to and belongs to nobody")
        if instance is None or tenant is None:
            return  # removed by hand after it was asked
        removed = instance.volume is not self.world.volumes.get(slug)
        if instance.state is RunState.EXITED or removed or instance.by_hand or not instance.works:
            return  # somebody did that to it after it was asked: the next pass sees it
        self._hold(instance.state is RunState.RUNNING, f"{slug} is routed to while {instance.state}")
        self._hold(self.world.is_ready(instance) and not instance.draining, f"{slug} is routed to and not ready")
        self._hold(tenant.desired is not Desired.DELETED or self._recent(slug), f"{slug} is deleted and routed to")
        database = instance.volume.database
        has = database.generation if database is not None else None
        due = self._due_generation(slug)
        self._hold(has is not None and has >= due, f"{slug} is routed to with state {has}, {due} was due")

    def _recent(self, slug: str) -> bool:
        return self.generations[slug][-1][0] > self.world.monotonic - KEYS_REACH_S

    def _due_generation(self, slug: str) -> Generation:
        before = [each for at, each in self.generations[slug] if at <= self.world.monotonic - KEYS_REACH_S]
        return before[-1] if before else Generation(0, 0)

    # 4. What is recorded as confirmed is at the replica.
    def at_confirm(self, slug: str, epoch: int, txid: int) -> None:
        """When the control plane writes it down."""
        replica = self.world.replicas.get((slug, epoch))
        self._hold(
            replica is not None and replica.txid >= txid, f"{slug}: {txid} of epoch {epoch} is not at the replica"
        )
        assert replica is not None
        self.confirmed[slug, epoch] = list(replica.calls)

    # 5. Nothing confirmed is lost when an empty volume is restored.
    def at_restore(self, slug: str, database: Database, line: list[int], *, newest: bool, present: bool) -> None:
        """When a restored database takes its place; `newest`: no older time or epoch was asked for.

        `line`: the tenant's present epoch, its parent, and so on.
        """
        registered = slug in self.world.registered
        self._hold(not registered, f"{slug}: its database is exchanged while it is being copied")
        living = self.world.instances.get(slug)
        known = living is not None and living.made_at <= self.world.monotonic - APPEARING_S
        idle = living is None or living.state is RunState.EXITED or not known
        self._hold(idle, f"{slug}: its database is exchanged under it")
        if newest and not present:
            missing = set(self._expected(slug, line)) - set(database.calls)
            self._hold(not missing, f"{slug}: {len(missing)} confirmed calls are missing after a restore")

    def _expected(self, slug: str, line: list[int]) -> list[int]:
        """Of the newest epoch that was confirmed, unless a later one began with an older past that was asked for."""
        for epoch in line:
            if (slug, epoch) in self.confirmed:
                return self.confirmed[slug, epoch]
            if (slug, epoch) in self.asked_for:
                return []
        return []

    def at_fresh_start(self, slug: str, line: list[int]) -> None:
        """An instance may make an empty database only where there is nothing to restore."""
        volume = self.world.volumes.get(slug)
        empty = volume is None or volume.database is None
        self._hold(not (empty and self._expected(slug, line)), f"{slug} begins anew although it has a backup")

    # 6. A stop that was not observed is not believed; asleep means confirmed.
    def at_status(self, tenant: Tenant, status: Status) -> None:
        """When a new status is written back. One that is being woken is called asleep until it is awake."""
        if status is tenant.status:
            return
        slug = tenant.slug
        instance = self.world.instances.get(slug)
        lives = instance is not None and instance.state is not RunState.EXITED
        if instance is not None and instance.made_at > self.world.monotonic - APPEARING_S:
            return  # it came up, late, after it was looked for
        if status in (Status.ASLEEP, Status.SUSPENDED, Status.DELETED):
            self._hold(not lives, f"{slug} is called {status} and lives")
        if status is Status.NAPPING and instance is not None and lives:
            self._hold(instance.state is RunState.PAUSED, f"{slug} is called napping and is {instance.state}")

    def at_idle_stop(self, slug: str, epoch: int) -> None:
        """When an instance was stopped for want of calls: everything it had is at the replica."""
        volume, replica = self.world.volumes.get(slug), self.world.replicas.get((slug, epoch))
        if volume is None or volume.database is None or volume.database.epoch != epoch:
            return  # removed by hand meanwhile
        kept = set(replica.calls) if replica is not None else set()
        missing = set(volume.database.calls) | set(volume.journal)
        self._hold(missing <= kept, f"{slug} sleeps and {len(missing - kept)} calls were never confirmed")

    def at_pause(self, instance: Instance) -> None:
        """No call is frozen, none is left in the journal, no new one is routed to it."""
        self._hold(instance.in_flight == 0, f"{instance.slug} is frozen with a call in flight")
        self._hold(not instance.volume.journal, f"{instance.slug} is frozen with an unfolded journal")
        self._hold(self.world.links.get(instance.slug) != instance.run_id, f"{instance.slug} is frozen while routed to")

    def at_purge(self, tenant: Tenant | None, doomed: bool) -> None:
        """Only a deleted tenant's data goes, and only after its grace."""
        over = tenant is None or (tenant.desired is Desired.DELETED and doomed)
        self._hold(over, "data of a tenant goes that is not deleted, or before its grace is over")

    # 7. In the end everything is as wanted.
    def finally_(self, tenant: Tenant, expects_unreadable: bool) -> str:
        """What is still not as wanted of this tenant; "" when all is."""
        self.checks += 1
        slug = tenant.slug
        instance = self.world.instances.get(slug)
        lives = instance is not None and instance.state is not RunState.EXITED
        if tenant.desired is not Desired.RUNNING:
            wanted = {Desired.ASLEEP: Status.ASLEEP, Desired.SUSPENDED: Status.SUSPENDED}
            if lives or slug in self.world.links or slug in self.world.registered:
                return f"{slug} shall be {tenant.desired} and something of it is left"
            is_so = tenant.status is wanted.get(tenant.desired, Status.DELETED)
            return "" if is_so or expects_unreadable else f"{slug} shall be {tenant.desired} and is {tenant.status}"
        if expects_unreadable and tenant.status is Status.FAILED:
            wrong = lives or slug in self.world.links
            return f"{slug} has an unreadable backup and runs all the same" if wrong else ""
        if not lives or instance is None or instance.state is not RunState.RUNNING:
            return f"{slug} shall run and does not: {tenant.status}, {tenant.next_action}"
        if self.world.links.get(slug) != instance.run_id:
            return f"{slug} runs and is not routed to: {tenant.next_action}"
        if instance.volume is not self.world.volumes.get(slug) or instance.epoch != tenant.epoch:
            return f"{slug} runs on a data folder that is not its own"
        if self.world.registered.get(slug) != tenant.epoch:
            return f"{slug} runs and is not backed up"
        database = instance.volume.database
        if database is None or database.generation != tenant.generation:
            return f"{slug} runs and does not have its state"
        return "" if tenant.status is Status.RUNNING else f"{slug} runs and is called {tenant.status}"

    def nothing_left(self, slugs: Iterable[str]) -> str:
        """Names of tenants that nobody has: nothing of them may be left running."""
        for slug in slugs:
            instance = self.world.instances.get(slug)
            if slug in self.world.links or (instance is not None and instance.state is not RunState.EXITED):
                return f"{slug} belongs to nobody and is still there"
        return ""
