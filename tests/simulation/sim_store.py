"""The control plane's database in memory: what it holds survives every life of the plane, unless it is lost itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from control_plane.domain.found_epochs import AT_LEAST, backed_up, found_epochs
from control_plane.domain.key_ends import NEVER, end_of, held_to
from control_plane.domain.plans import FREE, Plan
from control_plane.domain.secrets import TenantSecrets
from control_plane.domain.tenants import Desired, Epoch, Generation, KeyRecord, RestoreRequest, Status, Tenant
from control_plane.domain.usage import WHOLE, Counted, Origin, Subject, compared_with, count, reading_from
from control_plane.store.database import Changes
from control_plane.store.tenants import wake_is_known
from tests.simulation.invariants import Invariants
from tests.simulation.plane import Plane
from tests.simulation.world import READ, World


@dataclass
class Rows:
    """What lies in the database. Rows are replaced, never changed, so a copy of the mappings is a copy of it all."""

    incarnation: int = 1
    tenants: dict[str, Tenant] = field(default_factory=dict)
    epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    copied: dict[str, set[int]] = field(default_factory=dict)  # epochs that began as a copy
    verify: dict[str, None] = field(default_factory=dict)
    doomed: dict[str, None] = field(default_factory=dict)
    counted: dict[tuple[str, int], Mapping[Subject, Counted]] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)  # calls counted in all
    used_by_key: dict[tuple[str, str], int] = field(default_factory=dict)
    last_key: int = 0

    def copy(self) -> Rows:
        """As it is now."""
        found = Rows(self.incarnation, last_key=self.last_key)
        for each in fields(Rows):
            rows = getattr(self, each.name)
            if isinstance(rows, dict):
                nested = {
                    key: type(value)(value) if isinstance(value, (list, set)) else value for key, value in rows.items()
                }
                setattr(found, each.name, nested)
        return found


@dataclass
class Tables(Rows):
    """The rows, and the ways the API writes them."""

    world: World = None  # type: ignore[assignment]
    invariants: Invariants = None  # type: ignore[assignment]
    changed: set[str] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    orphans: list[tuple[str, list[str]]] = field(default_factory=list)
    events: list[tuple[float, str, str, str]] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)

    def create(self, slug: str, nap_after_s: int, sleep_after_s: int) -> None:
        """As sign-up does."""
        now = self.world.now
        number = Generation(self.incarnation, 0)
        tenant = Tenant(slug, 1, "free", "local", Desired.RUNNING, "", "image", number, 0, now)
        tenant.nap_after_s, tenant.sleep_after_s, tenant.since = nap_after_s, sleep_after_s, now
        self.tenants[slug] = tenant
        self.epochs[slug], self.copied[slug] = [], set()
        self.write(slug)

    def write(self, slug: str, **changes: Any) -> Generation:
        """A write by the API: a new generation, and the reconciler hears of it."""
        tenant = self.tenants[slug]
        number = Generation(tenant.generation.incarnation, tenant.generation.number + 1)
        self.tenants[slug] = replace(tenant, generation=number, **changes)
        self.invariants.at_generation(slug, number)
        self.tell(slug)
        return number

    def ask(self, slug: str, **changes: Any) -> None:
        """A request that is no new desired state of the instance: a wake, a restart."""
        self.tenants[slug] = replace(self.tenants[slug], **changes)
        self.tell(slug)

    def desire(self, slug: str, wanted: Desired, reason: str = "") -> None:
        """As `store.tenants.desire`: RUNNING is a wake, which ends an idle sleep."""
        tenant, now = self.tenants[slug], self.world.now
        values: dict[str, Any] = {"desired": wanted, "reason": reason}
        if wanted is Desired.RUNNING:
            if tenant.desired is wanted and not tenant.failure and wake_is_known(tenant, now):
                return
            values["wake_requested_at"] = now
        elif tenant.desired is wanted and tenant.reason == reason:
            return
        if wanted is Desired.ASLEEP:
            values["sleep_requested_at"] = now
        (self.ask if tenant.desired is wanted else self.write)(slug, **values)

    # --- keys: as `store.keys` writes them ------------------------------------------------------------------------------

    def create_key(self, slug: str, digest: str, expires_at: float | None = None) -> KeyRecord:
        """Keep a key's digest."""
        self.last_key += 1
        tenant = self.tenants[slug]
        key = KeyRecord(self.last_key, slug, "", "proxy", digest, "", self.world.now, expires_at=expires_at)
        self.write(slug, keys=(*tenant.keys, key))
        return key

    def change_key(self, slug: str, digest: str, **values: Any) -> None:
        """Change what is kept of a key."""
        keys = self.tenants[slug].keys
        self.write(slug, keys=tuple(replace(each, **values) if each.sha256 == digest else each for each in keys))

    def key(self, slug: str, digest: str) -> KeyRecord | None:
        """What is kept of a key."""
        tenant = self.tenants.get(slug)
        return next((each for each in tenant.keys if each.sha256 == digest), None) if tenant is not None else None

    def ends_due(self) -> dict[str, float]:
        """What should be on record beside the backups."""
        found = {}
        for tenant in self.tenants.values():
            for key in tenant.keys:
                ends_at = end_of(key.expires_at, key.revoked_at)
                if ends_at != NEVER or key.sha256 in self.world.ends:
                    found[key.sha256] = ends_at
        return found

    # --- the database lost and brought back -----------------------------------------------------------------------------

    def restore(self, older: Rows, incarnation: int, at_store: Mapping[str, Mapping[int, tuple[float, float]]]) -> None:
        """As `stockyard-cloud restore` does: a new incarnation, keys that ended stay ended, epochs at the store are known."""
        for each in fields(Rows):
            setattr(self, each.name, getattr(older.copy(), each.name))
        self.incarnation = incarnation
        for slug, tenant in self.tenants.items():
            keys = tuple(self._held(key) for key in tenant.keys)
            number = Generation(incarnation, tenant.generation.number)
            there = at_store.get(slug, {})
            last_at = backed_up(self.epochs[slug], there)
            self.epochs[slug] = [
                replace(each, confirmed_txid=AT_LEAST, confirmed_at=last_at[each.n]) if each.n in last_at else each
                for each in self.epochs[slug]
            ]
            epoch, known = tenant.epoch, [each.n for each in self.epochs[slug]]
            for found in found_epochs(epoch, known, there, cloned=_is_anothers(tenant.restore)):
                life = Epoch(slug, found.n, found.parent, found.first_at)
                life = replace(life, confirmed_txid=AT_LEAST, confirmed_at=found.last_at)
                self.epochs[slug] = [
                    *(
                        each if each.closed_at else replace(each, closed_at=found.first_at)
                        for each in self.epochs[slug]
                    ),
                    life,
                ]
                if found.copied:
                    self.copied[slug].add(found.n)
                epoch = found.n
            self.tenants[slug] = replace(tenant, keys=keys, generation=number, epoch=epoch)
            self.invariants.at_generation(slug, number)
            self.tell(slug)

    def _held(self, key: KeyRecord) -> KeyRecord:
        ends_at = self.world.ends.get(key.sha256, NEVER)
        changes: dict[str, Any] = {**held_to(ends_at, key.expires_at, key.revoked_at, self.world.now)}
        return replace(key, **changes)

    # --- usage ----------------------------------------------------------------------------------------------------------

    def count_usage(self, slug: str, epoch: int, document: Mapping[str, Any]) -> None:
        """As `store.usage.collect`."""
        today = datetime.fromtimestamp(self.world.now, UTC).date().isoformat()
        reading, counted = reading_from(document), self.counted.get((slug, epoch), {})
        copied = self.copied.get(slug, set())
        older, before = None, None
        if epoch in copied and WHOLE not in counted:
            origins = {each.n: Origin(each.n in copied, each.parent) for each in self.epochs.get(slug, [])}
            older = compared_with(epoch, origins, {n for owner, n in self.counted if owner == slug})
            before = self.counted.get((slug, older), {}) if older is not None else None
        found = count(reading, counted, today, copied=epoch in copied, before=before)
        self.counted[slug, epoch] = {**counted, **found.counted}
        if older is not None and before is not None:
            self.counted[slug, older] = {**before, **found.counted_before}
        gained = {"whole": 0}
        for (_, subject), counters in found.gains.items():
            name = subject.name or "whole"
            gained[name] = gained.get(name, 0) + counters["requests"]
        self.used[slug] = self.used.get(slug, 0) + gained.pop("whole")
        for name, requests in gained.items():
            self.used_by_key[slug, name] = self.used_by_key.get((slug, name), 0) + requests
        self.invariants.at_usage(slug, document[READ], self.used[slug], gained)

    def line(self, slug: str, before: int | None = None) -> list[int]:
        """The present epoch, its parent, and so on; as it was `before` that epoch began."""
        parents = {each.n: each.parent for each in self.epochs[slug]}
        if before is not None:
            older = [each.n for each in self.epochs[slug] if each.n < before]
            return _line(max(older, default=0), parents)
        return _line(self.tenants[slug].epoch, parents)

    def tell(self, slug: str) -> None:
        """Let the reconciler know."""
        self.changed.add(slug)
        self.wake.set()
        self.changes.notify()


def _is_anothers(restore: RestoreRequest | None) -> bool:
    return restore is not None and bool(restore.source or restore.imported)


def _line(n: int | None, parents: Mapping[int, int | None]) -> list[int]:
    line: list[int] = []
    while n:
        line.append(n)
        n = parents.get(n)
    return line


class SimStore:
    """`Store` of one life of the plane."""

    def __init__(self, plane: Plane, tables: Tables) -> None:
        self._plane = plane
        self._tables = tables

    async def tenants(self) -> Sequence[Tenant]:
        return await self._plane.effect(lambda: [replace(each) for each in self._tables.tenants.values()])

    async def tenant(self, slug: str) -> Tenant | None:
        def get() -> Tenant | None:
            found = self._tables.tenants.get(slug)
            return replace(found) if found is not None else None

        return await self._plane.effect(get)

    async def plan(self, name: str) -> Plan:
        return FREE

    async def epochs(self, slug: str) -> Sequence[Epoch]:
        return await self._plane.effect(lambda: list(self._tables.epochs.get(slug, [])))

    async def epochs_of(self, slugs: Sequence[str]) -> Mapping[str, Sequence[Epoch]]:
        return await self._plane.effect(lambda: {slug: list(self._tables.epochs.get(slug, [])) for slug in slugs})

    async def secrets(self, slug: str) -> TenantSecrets:
        return TenantSecrets("sy_inst_x", "secret")

    async def new_epoch(self, slug: str, parent: int | None, *, restored_from_at: str | None = None) -> Epoch:
        def open_next() -> Epoch:
            tables = self._tables
            now = tables.world.now
            rows = [each if each.closed_at else replace(each, closed_at=now) for each in tables.epochs[slug]]
            tenant = tables.tenants[slug]
            n = max([tenant.epoch, *(each.n for each in rows)]) + 1
            epoch = Epoch(slug, n, parent, now)
            tables.epochs[slug] = [*rows, epoch]
            if parent is not None or restored_from_at is not None or _is_anothers(tenant.restore):
                tables.copied[slug].add(n)
            tables.tenants[slug] = replace(tenant, epoch=n)
            return epoch

        return await self._plane.effect(open_next)

    async def close_epoch(self, slug: str, n: int) -> None:
        await self._plane.effect(lambda: self._change(slug, n, closed_at=self._tables.world.now))

    async def confirm(
        self,
        slug: str,
        n: int,
        txid: int,
        *,
        bytes: int | None = None,
        ledger_seq: int | None = None,
        ledger_hash: str | None = None,
    ) -> None:
        def write() -> None:
            self._tables.invariants.at_confirm(slug, n, txid)
            known = max(
                (each.confirmed_txid or 0 for each in self._tables.epochs.get(slug, []) if each.n == n), default=0
            )
            self._change(slug, n, confirmed_txid=max(txid, known), confirmed_at=self._tables.world.now)

        await self._plane.effect(write)

    async def verified(self, slug: str, n: int, *, ok: bool, detail: Mapping[str, Any]) -> None:
        def write() -> None:
            self._tables.verify.pop(slug, None)
            now = self._tables.world.now
            if ok:
                self._tables.invariants.at_verified(slug, n)
            self._change(slug, n, **({"verified_at": now, "broken_at": None} if ok else {"broken_at": now}))

        await self._plane.effect(write)

    async def verify_requests(self) -> Sequence[tuple[str, int | None]]:
        return [(slug, None) for slug in self._tables.verify]

    async def save_status(
        self,
        slug: str,
        generation: Generation,
        *,
        status: Status,
        next_action: str = "",
        failure: str = "",
        last_request_at: float | None = None,
        applied: Generation | None = None,
    ) -> None:
        def write() -> None:
            tables = self._tables
            tenant = tables.tenants[slug]
            tables.invariants.at_status(tenant, status)
            changes: dict[str, Any] = {"status": status, "next_action": next_action, "failure": failure}
            changes |= {"since": tables.world.now} if status != tenant.status else {}
            changes |= {"last_request_at": last_request_at} if last_request_at is not None else {}
            changes |= {"applied": applied} if applied is not None else {}
            tables.tenants[slug] = replace(tenant, **changes)
            tables.changes.notify()

        await self._plane.effect(write)

    async def save_schedule(self, slug: str, at: float | None) -> None:
        def write() -> None:
            self._tables.tenants[slug] = replace(self._tables.tenants[slug], scheduled_next_at=at)

        await self._plane.effect(write)

    async def restore_done(self, slug: str, requested_at: float, detail: Mapping[str, Any]) -> None:
        def write() -> None:
            tenant = self._tables.tenants[slug]
            if tenant.restore is not None and tenant.restore.requested_at == requested_at:
                self._tables.tenants[slug] = replace(tenant, restore=None)

        await self._plane.effect(write)

    async def event(self, slug: str, kind: str, message: str, detail: Mapping[str, Any] | None = None) -> None:
        tables = self._tables
        tables.events.append((tables.world.monotonic, slug, kind, message))
        if kind == "instance.stopped" and message == "it is idle":
            tables.invariants.at_idle_stop(slug, tables.tenants[slug].epoch)
        await self._plane.effect(lambda: None)

    async def record_usage(self, slug: str, epoch: int, reading: Mapping[str, Any]) -> None:
        late = self._plane.faults.late_reading
        await self._plane.effect(lambda: self._tables.count_usage(slug, epoch, reading), repeats=late)

    async def begin_purge(self, slug: str) -> bool:
        def doom() -> bool:
            tenant = self._tables.tenants.get(slug)
            if tenant is None or tenant.desired is not Desired.DELETED or tenant.delete_after is None:
                return False
            if slug not in self._tables.doomed and self._tables.world.now < tenant.delete_after:
                return False
            self._tables.doomed[slug] = None
            self._tables.tenants[slug] = replace(tenant, purge_began_at=self._tables.world.now)
            return True

        return await self._plane.effect(doom)

    async def purge(self, slug: str) -> None:
        def write() -> None:
            self._tables.invariants.at_purge(self._tables.tenants.get(slug), slug in self._tables.doomed)
            self._tables.tenants.pop(slug, None)
            self._tables.changes.notify()

        await self._plane.effect(write)

    async def orphan_ended(self, slug: str, what: Sequence[str]) -> None:
        await self._plane.effect(lambda: self._tables.orphans.append((slug, list(what))))

    async def wait_change(self, timeout_s: float) -> set[str]:
        tables = self._tables
        if not tables.changed:
            tables.wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await tables.wake.wait()
            except TimeoutError:
                return set()
        slugs = set(tables.changed)
        tables.changed.clear()
        return slugs

    def _change(self, slug: str, n: int, **changes: Any) -> None:
        rows = self._tables.epochs.get(slug, [])
        self._tables.epochs[slug] = [replace(each, **changes) if each.n == n else each for each in rows]
