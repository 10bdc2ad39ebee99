"""What the reconciler may read and write: `reconcile.ports.Store` on the control plane's database.

What it does to a tenant leaves a ledger entry and an event; what it merely observed again and again (confirmed
transactions, activity, the next action) is written without one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import delete, select, update

from control_plane.domain.plans import Plan
from control_plane.domain.secrets import TenantSecrets
from control_plane.domain.tenants import Desired, Epoch, Generation, Status, Tenant
from control_plane.store import epochs, quota, tenants, usage
from control_plane.store.database import Database
from control_plane.store.record import note, record
from control_plane.store.roster import Roster
from control_plane.store.schema import keys
from control_plane.store.schema import tenants as table

ACTOR = "control_plane"


class Store:
    """The loop's view of the database. `open_secrets` unwraps what the master key sealed under the slug."""

    def __init__(
        self, database: Database, plan: Callable[[str], Plan], open_secrets: Callable[[bytes, bytes], bytes]
    ) -> None:
        self._database = database
        self._plan = plan
        self._open_secrets = open_secrets
        self._roster = Roster()

    async def tenants(self) -> Sequence[Tenant]:
        """Every tenant not yet purged, deleted ones included, without keys and settings."""
        return await self._database.read(self._roster.read)

    async def tenant(self, slug: str) -> Tenant | None:
        """The tenant, or None once it is purged."""
        return await self._database.read(lambda connection: tenants.find(connection, slug))

    async def plan(self, name: str) -> Plan:
        """The limits of a plan."""
        return self._plan(name)

    async def epochs(self, slug: str) -> Sequence[Epoch]:
        """Oldest first."""
        return await self._database.read(lambda connection: epochs.of(connection, slug))

    async def epochs_of(self, slugs: Sequence[str]) -> Mapping[str, Sequence[Epoch]]:
        """The same of several tenants, read at once."""
        return await self._database.read(lambda connection: epochs.of_each(connection, slugs))

    async def secrets(self, slug: str) -> TenantSecrets:
        """What instance.json holds. Raises LookupError for a purged tenant."""
        query = select(table.c.sealed_secrets).where(table.c.slug == slug)
        sealed = await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())
        if sealed is None:
            raise LookupError(f"tenant {slug} has no secrets")
        return TenantSecrets(**orjson.loads(self._open_secrets(sealed, slug.encode())))

    async def new_epoch(self, slug: str, parent: int | None, *, restored_from_at: str | None = None) -> Epoch:
        """Open the next epoch, close the one before, make it the tenant's."""
        return await self._database.write(
            lambda connection: epochs.open_next(connection, slug, parent, restored_from_at)
        )

    async def close_epoch(self, slug: str, n: int) -> None:
        """The epoch takes no more writes."""
        await self._database.write(lambda connection: epochs.close(connection, slug, n))

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
        """Record that the replica of this epoch is durable up to `txid`."""
        await self._database.write(
            lambda connection: epochs.confirm(
                connection, slug, n, txid, size_bytes=bytes, ledger_seq=ledger_seq, ledger_hash=ledger_hash
            )
        )

    async def verified(self, slug: str, n: int, *, ok: bool, detail: Mapping[str, Any]) -> None:
        """Record the outcome of restoring this epoch elsewhere."""
        await self._database.write(lambda connection: epochs.verified(connection, slug, n, ok=ok, detail=detail))

    async def verify_requests(self) -> Sequence[tuple[str, int | None]]:
        """Tenants whose newest backup somebody asked to have verified."""
        query = select(table.c.slug).where(table.c.verify_requested_at.is_not(None), table.c.purged_at.is_(None))
        slugs = await self._database.read(lambda connection: connection.execute(query).scalars().all())
        return [(slug, None) for slug in slugs]

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
        """Write what changed of it; an event and a ledger entry when the status or the failure did."""
        wanted: dict[str, Any] = {"status": status, "next_action": next_action, "failure": failure}
        if last_request_at is not None:
            wanted["last_request_at"] = last_request_at
        if applied is not None:
            wanted |= {"applied_incarnation": applied.incarnation, "applied_number": applied.number}
        columns = [table.c[name] for name in wanted]
        row = await self._database.read(
            lambda connection: connection.execute(select(*columns).where(table.c.slug == slug)).first()
        )
        if row is None or all(row._mapping[name] == value for name, value in wanted.items()):
            return
        moved = row.status != status or row.failure != failure

        def save(connection: Any) -> None:
            since = {"since": time.time()} if row.status != status else {}
            connection.execute(update(table).where(table.c.slug == slug).values(**wanted, **since))
            if moved:
                message = f"{row.status} -> {status}" + (f": {failure}" if failure else "")
                detail = {"from": row.status, "to": str(status), "failure": failure, "generation": generation.number}
                record(connection, actor=ACTOR, action="status", tenant=slug, message=message, detail=detail)

        await self._database.write(save)

    async def save_schedule(self, slug: str, at: float | None) -> None:
        """When its instance has something to do next, as it last said."""
        changed = update(table).where(table.c.slug == slug).values(scheduled_next_at=at)
        await self._database.write(lambda connection: connection.execute(changed))

    async def restore_done(self, slug: str, requested_at: float, detail: Mapping[str, Any]) -> None:
        """Clear the restore request if it is still the one made at `requested_at`."""

        def clear(connection: Any) -> None:
            asked = connection.execute(select(table.c.restore).where(table.c.slug == slug)).scalar_one_or_none()
            if not asked or asked["requested_at"] != requested_at:
                return
            connection.execute(update(table).where(table.c.slug == slug).values(restore=None))
            plain = {name: value if isinstance(value, (str, int)) else str(value) for name, value in detail.items()}
            done = detail.get("ok", True)
            kind, message = ("restore.done", "restored") if done else ("restore.refused", str(detail.get("detail", "")))
            record(connection, actor=ACTOR, action=kind, tenant=slug, message=message, detail=plain)

        await self._database.write(clear)

    async def event(self, slug: str, kind: str, message: str, detail: Mapping[str, Any] | None = None) -> None:
        """An event on the tenant, without a ledger entry."""
        await self._database.write(
            lambda connection: note(connection, slug, actor=ACTOR, kind=kind, message=message, detail=detail)
        )

    async def record_usage(self, slug: str, epoch: int, reading: Mapping[str, Any]) -> None:
        """Count a reading of cumulative counters; the same reading twice counts once."""
        at = time.time()

        def count(connection: Any) -> None:
            usage.collect(connection, slug, epoch, reading, at)
            quota.take(connection, slug, reading.get("quota"))

        await self._database.write(count)

    async def begin_purge(self, slug: str) -> bool:
        """True if it is deleted and its grace is over; from then on nobody can bring it back."""

        def begin(connection: Any) -> bool:
            now = time.time()
            due = (table.c.delete_after <= now) | table.c.purge_began_at.is_not(None)
            over = (table.c.slug == slug) & (table.c.desired == Desired.DELETED) & due
            first = over & table.c.purge_began_at.is_(None)
            if connection.execute(update(table).where(first).values(purge_began_at=now)).rowcount:
                record(connection, actor=ACTOR, action="tenant.purge_begins", tenant=slug, message="its grace is over")
            return connection.execute(select(table.c.slug).where(over)).first() is not None

        return await self._database.write(begin)

    async def purge(self, slug: str) -> None:
        """Drop keys and secrets; the row stays as the slug's tombstone."""

        def bury(connection: Any) -> None:
            now = time.time()
            connection.execute(delete(keys).where(keys.c.tenant == slug))
            values: dict[str, Any] = {"purged_at": now, "sealed_secrets": None, "settings": {}, "restore": None}
            gone = table.c.purged_at.is_(None) & (table.c.slug == slug)
            over = {"status": Status.DELETED, "desired": Desired.DELETED, "since": now}
            epochs.forget_all(connection, slug, now)  # the slug may come back, and must not look for them
            if connection.execute(update(table).where(gone).values(**values, **over)).rowcount:
                record(connection, actor=ACTOR, action="tenant.purge", tenant=slug, message="data and backups removed")

        await self._database.write(bury)

    async def orphan_ended(self, slug: str, what: Sequence[str]) -> None:
        """A ledger entry; no event, as whoever gets this slug one day must not see it."""
        detail = {"ended": list(what)}
        await self._database.write(
            lambda connection: record(
                connection,
                actor=ACTOR,
                action="orphan.end",
                message="",
                resource=f"tenant:{slug}",
                detail=detail,
            )
        )

    async def wait_change(self, timeout_s: float) -> set[str]:
        """Slugs written through the API since the last call, as soon as there are any; empty after the timeout."""
        return await self._database.wait_asked(timeout_s)
