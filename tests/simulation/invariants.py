"""What must hold in every history, whatever fails and whenever something dies. All of it is stated here.

1. ONE WRITER: at most one life of a database writes an epoch's replica, and no instance starts beside a living one.
2. RIGHT ROUTE: no route to a wrong tenant, ever; no call is answered by another tenant's instance, or with another
   tenant's key.
3. READY: a route only to an instance that is ready, of the present epoch, with the state that was due.
4. CONFIRMED: what is recorded as confirmed is at the replica, and nothing confirmed is lost by a restore.
5. KEYS: a key whose creation was told to be effective works wherever calls are answered; one whose end was told to be
   effective never works again, nor after a restore of its tenant or of the control plane; with nothing in the way
   either takes at most a second.
6. HONEST: a stop that was not observed is not believed; asleep means confirmed; nothing busy is frozen.
7. CALLS: every call that was answered is in its tenant's database once, except what went with a lost host.
8. USAGE: no call is counted twice; none is left out but those that went, since the last reading, with a lost host, or
   with a database that was replaced on request while nothing could be read of it.
9. BACKUPS: a backup that is called verified restores, unless its replica was destroyed since; data of a tenant goes
   only when it is deleted and its grace over.
10. IN THE END, when faults have ceased, everything is as wanted: who shall run runs, is routed to, backed up and has
   its keys; who shall not does not; nothing is left of whom nobody has.

Checked at the moment of the effect that could break it (`at_…`), after every step of the world (`always`), and at the
end, when faults have ceased and time has passed (`finally_`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from control_plane.domain.tenants import Desired, Generation, Status, Tenant
from control_plane.runtimes.protocol import RunState
from tests.simulation.world import Database, Instance, Volume, World

APPEARING_S = 1.0  # an instance that is younger may be unknown yet
CLOCKS_S = 0.001  # rounding of times
KEYS_REACH_S = 1.5  # a state this old must have been pushed to an instance that is being routed to


class Violation(AssertionError):
    """An invariant was broken; the message says which and how."""


@dataclass(frozen=True, slots=True)
class KeyPromise:
    """What a customer is told of a key; `ends`: it is revoked."""

    generation: Generation
    ends: bool
    expires_at: float | None
    on_record: bool  # its end is beside the backups too


@dataclass
class KeyTruth:
    """What was promised of a key. Times are of the monotonic clock, but for `expires_at`."""

    slug: str
    works_from: float | None = None  # its creation was told to be effective then
    ended_from: float | None = None  # its end was told to be effective then
    expires_at: float | None = None  # wall clock; told to be effective
    on_record: bool = False  # the end is beside the backups too
    told: Generation = Generation(0, 0)  # noqa: RUF009 - the newest that was answered for
    told_at: float = 0.0
    asked: int = 0  # requests that were not answered, or not yet
    unsure: bool = False  # something was asked of it and not answered for: it may work or not


@dataclass
class Invariants:
    """Watches one world. `generations` has every tenant's desired generations with the time each began."""

    world: World
    generations: dict[str, list[tuple[float, Generation]]] = field(default_factory=dict)
    told: dict[str, Generation] = field(default_factory=dict)  # the newest generation told to be effective
    confirmed: dict[tuple[str, int], list[int]] = field(default_factory=dict)  # calls known durable, by epoch
    asked_for: set[tuple[str, int]] = field(default_factory=set)  # epochs that began with a restore on request
    keys: dict[str, KeyTruth] = field(default_factory=dict)  # by digest
    answered: dict[str, list[int]] = field(default_factory=dict)  # calls that were answered, by tenant
    may_lack: dict[str, set[int]] = field(default_factory=dict)  # of those, what went with a lost host or a restore
    counted: dict[str, set[int]] = field(default_factory=dict)  # calls of which usage was collected
    uncounted: dict[str, set[int]] = field(default_factory=dict)  # those that went with a lost host before they were
    linked_at: dict[str, float] = field(default_factory=dict)  # when the activator last routed to it
    checks: int = 0
    broken: str = ""  # the first violation; the code under test may swallow what is raised

    def _hold(self, truth: bool, message: str) -> None:
        self.checks += 1
        if not truth:
            self.broken = self.broken or f"at {self.world.monotonic:.3f} s: {message}"
            raise Violation(self.broken)

    def at_generation(self, slug: str, number: Generation) -> None:
        """The tenant's desired state has this number from now on."""
        self.generations.setdefault(slug, []).append((self.world.monotonic, number))

    # --- 1. ONE WRITER ---------------------------------------------------------------------------------------------------

    def always(self) -> None:
        """After every step."""
        for (slug, epoch), replica in self.world.replicas.items():
            self._hold(len(replica.lives) <= 1, f"{slug}: 1. two lives of its database were copied to epoch {epoch}")
        for slug, run_id in self.world.links.items():
            self._hold(run_id.rpartition("-")[0] == slug, f"2. {slug} is routed to {run_id}")

    def at_start(self, slug: str, epoch: int, tenant: Tenant | None) -> None:
        """No instance starts beside a living one, or on a volume that is not of its epoch."""
        living = self.world.instances.get(slug)
        self._hold(living is None or living.state is RunState.EXITED, f"1. {slug} is started while an instance lives")
        self._hold(tenant is not None and tenant.epoch == epoch, f"1. {slug} is started under epoch {epoch}")
        volume = self.world.volumes.get(slug)
        marked = volume is None or volume.epoch == epoch  # None: the folder was removed a moment ago
        self._hold(marked, f"1. {slug} is started under epoch {epoch} on another epoch's volume")

    # --- 2. RIGHT ROUTE --------------------------------------------------------------------------------------------------

    def at_arrival(self, slug: str, instance: Instance) -> None:
        """A call for `slug` reached an instance."""
        self._hold(instance.slug == slug, f"2. a call for {slug} reached the instance of {instance.slug}")

    # --- 3. READY --------------------------------------------------------------------------------------------------------

    def at_link(
        self, slug: str, instance: Instance | None, tenant: Tenant | None, *, by_activator: bool = False
    ) -> None:
        """Checked against the world at the moment the link is made."""
        if by_activator:
            self.linked_at[slug] = self.world.monotonic
            if instance is not None and instance.made_at > self.world.monotonic - APPEARING_S:
                return  # started by a control plane that came back after it was looked for
        self._hold(tenant is not None, f"3. {slug} is routed to and belongs to nobody")
        if instance is None or tenant is None:
            return  # removed by hand after it was asked
        removed = instance.volume is not self.world.volumes.get(slug)
        if instance.state is RunState.EXITED or removed or instance.by_hand or not instance.works:
            return  # somebody did that to it after it was asked: the next pass sees it
        self._hold(instance.state is RunState.RUNNING, f"3. {slug} is routed to while {instance.state}")
        self._hold(self.world.is_ready(instance) and not instance.draining, f"3. {slug} is routed to and not ready")
        known = not by_activator  # who goes by what was written before the control plane died
        deleted = known and tenant.desired is Desired.DELETED and not self._recent(slug)
        self._hold(not deleted, f"3. {slug} is deleted and routed to")
        database = instance.volume.database
        has = database.generation if database is not None else None
        due = self.told.get(slug, Generation(0, 0)) if by_activator else self._due_generation(slug)
        self._hold(has is not None and has >= due, f"3. {slug} is routed to with state {has}, {due} was due")

    def _recent(self, slug: str) -> bool:
        return self.generations[slug][-1][0] > self.world.monotonic - KEYS_REACH_S

    def _due_generation(self, slug: str) -> Generation:
        before = [each for at, each in self.generations[slug] if at <= self.world.monotonic - KEYS_REACH_S]
        return before[-1] if before else Generation(0, 0)

    # --- 4. CONFIRMED ----------------------------------------------------------------------------------------------------

    def at_confirm(self, slug: str, epoch: int, txid: int) -> None:
        """When the control plane writes it down."""
        replica = self.world.replicas.get((slug, epoch))
        self._hold(
            replica is not None and replica.txid >= txid, f"4. {slug}: {txid} of epoch {epoch} is not at the replica"
        )
        assert replica is not None
        self.confirmed[slug, epoch] = list(replica.calls)

    def at_restore(self, slug: str, database: Database, line: list[int], *, newest: bool, present: bool) -> None:
        """When a restored database takes its place; `newest`: no older time or epoch was asked for.

        `line`: the tenant's present epoch, its parent, and so on.
        """
        registered = slug in self.world.registered
        self._hold(not registered, f"1. {slug}: its database is exchanged while it is being copied")
        living = self.world.instances.get(slug)
        known = living is not None and living.made_at <= self.world.monotonic - APPEARING_S
        idle = living is None or living.state is RunState.EXITED or not known
        self._hold(idle, f"1. {slug}: its database is exchanged under it")
        if newest and not present:
            missing = set(self._expected(slug, line)) - set(database.calls)
            self._hold(not missing, f"4. {slug}: {len(missing)} confirmed calls are missing after a restore")

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
        self._hold(not (empty and self._expected(slug, line)), f"4. {slug} begins anew although it has a backup")

    # --- 5. KEYS ---------------------------------------------------------------------------------------------------------

    def at_key_asked(self, digest: str, slug: str) -> None:
        """Somebody asks for a key, or for a change of it; until it is answered nothing is promised."""
        truth = self.keys.setdefault(digest, KeyTruth(slug))
        truth.unsure, truth.asked = True, truth.asked + 1

    def at_key_told(self, digest: str, promise: KeyPromise, *, certain: bool) -> None:
        """The answer: it is so, everywhere. `certain`: nothing else is asked of it."""
        truth, now, generation = self.keys[digest], self.world.monotonic, promise.generation
        truth.asked = 0 if certain else truth.asked - 1
        if generation < truth.told:
            return  # answers that cross: the newer one holds
        truth.told, truth.told_at = generation, now
        truth.expires_at, truth.on_record = promise.expires_at, promise.on_record
        truth.unsure = truth.asked > 0
        if promise.ends:
            truth.ended_from = truth.ended_from or now
        else:
            truth.works_from = truth.works_from or now
        self.told[truth.slug] = max(generation, self.told.get(truth.slug, generation))

    def at_admission(self, slug: str, digest: str, admitted: bool, by: str, came_at: float, now: float) -> None:
        """A call that came at `came_at` was let in with this key, or refused as unauthorized, when it was `now` (wall)."""
        truth = self.keys.get(digest)
        if admitted:
            self._hold(truth is not None and truth.slug == slug, f"2. {by} of {slug} let a key in that is not its own")
            assert truth is not None
            ended = truth.ended_from is not None and truth.ended_from <= came_at
            self._hold(not ended, f"5. {by} of {slug} let a key in that was told to be revoked")
            known = not truth.unsure and truth.told_at <= came_at
            over = known and truth.expires_at is not None and truth.expires_at <= now - CLOCKS_S
            self._hold(not over, f"5. {by} of {slug} let a key in that had expired")
            return
        if truth is None or truth.slug != slug or truth.unsure or truth.ended_from is not None:
            return
        latest = max(now, self.world.latest_wall)  # a clock that is set back brings nothing back
        over = truth.expires_at is not None and truth.expires_at <= latest + CLOCKS_S
        good = truth.works_from is not None and truth.works_from <= came_at and not over
        self._hold(not good, f"5. {by} of {slug} refused a key that was told to work")

    def at_plane_restored(self, older_keys: set[str], copied_at: float) -> None:
        """What was promised after the copy was made and is nowhere else is no longer known, unless it is on record."""
        for digest, truth in self.keys.items():
            if not truth.on_record:
                truth.ended_from, truth.unsure = None, True
            if digest not in older_keys or truth.told_at > copied_at:
                truth.unsure = True
        self.told.clear()

    # --- 6. HONEST -------------------------------------------------------------------------------------------------------

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
            self._hold(not lives, f"6. {slug} is called {status} and lives")
        if status is Status.NAPPING and instance is not None and lives:
            self._hold(instance.state is RunState.PAUSED, f"6. {slug} is called napping and is {instance.state}")

    def at_idle_stop(self, slug: str, epoch: int) -> None:
        """When an instance was stopped for want of calls: everything it had is at the replica."""
        volume, replica = self.world.volumes.get(slug), self.world.replicas.get((slug, epoch))
        if volume is None or volume.database is None or volume.database.epoch != epoch:
            return  # removed by hand meanwhile
        kept = set(replica.calls) if replica is not None else set()
        missing = set(volume.database.calls) | set(volume.journal)
        self._hold(missing <= kept, f"6. {slug} sleeps and {len(missing - kept)} calls were never confirmed")

    def at_pause(self, instance: Instance) -> None:
        """No call is frozen, none is left in the journal, no new one is routed to it."""
        self._hold(instance.in_flight == 0, f"6. {instance.slug} is frozen with a call in flight")
        self._hold(not instance.volume.journal, f"6. {instance.slug} is frozen with an unfolded journal")
        self._hold(
            self.world.links.get(instance.slug) != instance.run_id, f"6. {instance.slug} is frozen while routed to"
        )

    # --- 7. CALLS and 8. USAGE -------------------------------------------------------------------------------------------

    def at_answer(self, slug: str, number: int) -> None:
        """A call was answered, so it is promised that it is recorded."""
        self.answered.setdefault(slug, []).append(number)

    def at_loss(self, slug: str, volume: Volume | None) -> None:
        """A host was lost, or its disk: what had not reached a replica may go, and what was not read of usage."""
        if volume is None:
            return
        calls = [*(volume.database.calls if volume.database is not None else ()), *volume.journal]
        epoch = volume.database.epoch if volume.database is not None else 0
        replica = self.world.replicas.get((slug, epoch))
        at_replica = set(replica.calls) if replica is not None and replica.readable else set()
        self.may_lack.setdefault(slug, set()).update(each for each in calls if each not in at_replica)
        self.at_unread(slug, volume)

    def at_replica_lost(self, slug: str, epoch: int, calls: Sequence[int]) -> None:
        """These calls went from a backup: those that nothing else held may go, but for what the plane had on record."""
        volume = self.world.volumes.get(slug)
        held = [*self.confirmed.get((slug, epoch), ()), *(volume.journal if volume is not None else ())]
        held += volume.database.calls if volume is not None and volume.database is not None else ()
        self.may_lack.setdefault(slug, set()).update(set(calls) - set(held))

    def at_unread(self, slug: str, volume: Volume | None) -> None:
        """An instance ended unasked, or did not tell its usage when it was asked: it may be the last time that it could."""
        if volume is None:
            return
        calls = [*(volume.database.calls if volume.database is not None else ()), *volume.journal]
        counted = self.counted.get(slug, set())
        self.uncounted.setdefault(slug, set()).update(each for each in calls if each not in counted)

    def at_going_back(self, slug: str) -> None:
        """The customer asked for an older past: what came since is not in it."""
        self.may_lack.setdefault(slug, set()).update(self.answered.get(slug, ()))

    def at_dropped(self, slug: str, volume: Volume | None, kept: Volume | None) -> None:
        """A database that was kept aside goes for good: its usage was read before."""
        if volume is None or volume.database is None:
            return
        still = set(kept.database.calls) if kept is not None and kept.database is not None else set()
        calls = {*volume.database.calls, *volume.journal} - still
        left = calls - self.counted.get(slug, set()) - self.uncounted.get(slug, set())
        self._hold(not left, f"8. {slug}: usage of {len(left)} calls went with a database that was replaced")

    def at_usage(self, slug: str, calls: Sequence[int], used: int, by_key: dict[str, int]) -> None:
        """A reading was counted. It holds these calls; `used` is the sum of all that was ever counted."""
        counted = self.counted.setdefault(slug, set())
        fresh = [each for each in calls if each not in counted]
        counted.update(fresh)
        self._hold(used <= len(counted), f"8. {slug}: {used} calls counted, {len(counted)} were read")
        self._hold(used >= len(counted), f"8. {slug}: {len(counted)} calls were read, {used} counted")
        of_keys: dict[str, int] = {}
        for each in fresh:
            if each not in self.world.key_of:
                continue  # made with the instance's own key
            name = str(self.world.key_of[each])
            of_keys[name] = of_keys.get(name, 0) + 1
        self._hold(by_key == of_keys, f"8. {slug}: {by_key} counted by key, {of_keys} were new")

    def calls_left(self, tenant: Tenant, used: int) -> str:
        """At the end, of a tenant that runs: what is missing of its calls or its usage; "" for nothing."""
        slug = tenant.slug
        instance = self.world.instances.get(slug)
        if instance is None:
            return f"{slug} is called running and there is no instance"
        database = instance.volume.database
        has = [*(database.calls if database is not None else ()), *instance.volume.journal]
        if len(set(has)) != len(has):
            return f"7. {slug}: a call is in its database twice"
        missing = set(self.answered.get(slug, ())) - set(has) - self.may_lack.get(slug, set())
        if missing:
            return f"7. {slug}: {len(missing)} answered calls are not in its database: {sorted(missing)[:5]}"
        counted = self.counted.get(slug, set())
        left = set(has) - counted
        if left:
            return f"8. {slug}: {len(left)} calls were never counted"
        gone = set(self.answered.get(slug, ())) - counted - self.uncounted.get(slug, set())
        if gone:
            return f"8. {slug}: {len(gone)} answered calls were never counted and went with no host"
        return "" if used == len(counted) else f"8. {slug}: {used} calls counted, {len(counted)} were read"

    # --- 9. BACKUPS ------------------------------------------------------------------------------------------------------

    def at_verified(self, slug: str, epoch: int) -> None:
        """A backup is called verified: from now on a restore of it works."""
        replica = self.world.replicas.get((slug, epoch))
        sound = replica is not None and replica.readable
        self._hold(
            sound or (slug, epoch) in self.world.spoiled, f"9. {slug}: epoch {epoch} is called verified and is not"
        )

    def at_purge(self, tenant: Tenant | None, doomed: bool) -> None:
        """Only a deleted tenant's data goes, and only after its grace."""
        over = tenant is None or (tenant.desired is Desired.DELETED and doomed)
        self._hold(over, "9. data of a tenant goes that is not deleted, or before its grace is over")

    # --- 10. IN THE END --------------------------------------------------------------------------------------------------

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
            failed = expects_unreadable and tenant.desired is Desired.ASLEEP and tenant.status is Status.FAILED
            return "" if is_so or failed else f"{slug} shall be {tenant.desired} and is {tenant.status}"
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
