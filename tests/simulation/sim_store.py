"""The control plane's database in memory: what it holds survives every life of the plane."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from control_plane.domain.plans import FREE, Plan
from control_plane.domain.secrets import TenantSecrets
from control_plane.domain.tenants import Desired, Epoch, Generation, Status, Tenant
from tests.simulation.invariants import Invariants
from tests.simulation.plane import Plane
from tests.simulation.world import World


@dataclass
class Tables:
    """The rows, and the ways the API writes them."""

    world: World
    invariants: Invariants
    tenants: dict[str, Tenant] = field(default_factory=dict)
    epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    verify: set[str] = field(default_factory=set)
    doomed: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    orphans: list[tuple[str, list[str]]] = field(default_factory=list)
    events: list[tuple[float, str, str, str]] = field(default_factory=list)

    def create(self, slug: str, nap_after_s: int, sleep_after_s: int) -> None:
        """As sign-up does."""
        tenant = Tenant(slug, 1, "free", "local", Desired.RUNNING, "", "image", Generation(1, 0), 0, self.world.now)
        tenant.nap_after_s, tenant.sleep_after_s, tenant.since = nap_after_s, sleep_after_s, self.world.now
        self.tenants[slug] = tenant
        self.epochs[slug] = []
        self.write(slug)

    def write(self, slug: str, **changes: Any) -> None:
        """A write by the API: a new generation, and the reconciler hears of it."""
        tenant = self.tenants[slug]
        number = Generation(1, tenant.generation.number + 1)
        self.tenants[slug] = replace(tenant, generation=number, **changes)
        self.invariants.generations.setdefault(slug, []).append((self.world.monotonic, number))
        self.tell(slug)

    def ask(self, slug: str, **changes: Any) -> None:
        """A request that is no new desired state of the instance: a wake, a restart."""
        self.tenants[slug] = replace(self.tenants[slug], **changes)
        self.tell(slug)

    def line(self, slug: str, before: int | None = None) -> list[int]:
        """The present epoch, its parent, and so on; as it was `before` that epoch began."""
        parents = {each.n: each.parent for each in self.epochs[slug]}
        line: list[int] = []
        n = self.tenants[slug].epoch if before is None else before - 1 or None
        while n:
            line.append(n)
            n = parents[n]
        return line

    def tell(self, slug: str) -> None:
        """Let the reconciler know."""
        self.changed.add(slug)
        self.wake.set()


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
            epoch = Epoch(slug, len(rows) + 1, parent, now)
            tables.epochs[slug] = [*rows, epoch]
            tables.tenants[slug] = replace(tables.tenants[slug], epoch=epoch.n)
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
            self._change(slug, n, confirmed_txid=txid, confirmed_at=self._tables.world.now)

        await self._plane.effect(write)

    async def verified(self, slug: str, n: int, *, ok: bool, detail: Mapping[str, Any]) -> None:
        def write() -> None:
            self._tables.verify.discard(slug)
            now = self._tables.world.now
            self._change(slug, n, **({"verified_at": now, "broken_at": None} if ok else {"broken_at": now}))

        await self._plane.effect(write)

    async def verify_requests(self) -> Sequence[tuple[str, int | None]]:
        return [(slug, None) for slug in sorted(self._tables.verify)]

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
        await self._plane.effect(lambda: None)

    async def begin_purge(self, slug: str) -> bool:
        def doom() -> bool:
            tenant = self._tables.tenants.get(slug)
            if tenant is None or tenant.desired is not Desired.DELETED or tenant.delete_after is None:
                return False
            if slug not in self._tables.doomed and self._tables.world.now < tenant.delete_after:
                return False
            self._tables.doomed.add(slug)
            self._tables.tenants[slug] = replace(tenant, purge_began_at=self._tables.world.now)
            return True

        return await self._plane.effect(doom)

    async def purge(self, slug: str) -> None:
        def write() -> None:
            self._tables.invariants.at_purge(self._tables.tenants.get(slug), slug in self._tables.doomed)
            self._tables.tenants.pop(slug, None)
            self._tables.epochs.pop(slug, None)

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
