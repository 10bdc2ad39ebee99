"""The control plane's database, as the reconciler uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from control_plane.domain.plans import Plan
from control_plane.domain.secrets import TenantSecrets
from control_plane.domain.tenants import Epoch, Generation, Status, Tenant


class Store(Protocol):
    """Desired state and what was learned; implemented by `control_plane.store`."""

    async def tenants(self) -> Sequence[Tenant]:
        """Every tenant not yet purged, deleted ones included; without keys and settings. Not to be changed."""

    async def tenant(self, slug: str) -> Tenant | None:
        """The tenant, whole."""

    async def plan(self, name: str) -> Plan: ...

    async def epochs(self, slug: str) -> Sequence[Epoch]:
        """Oldest first."""

    async def epochs_of(self, slugs: Sequence[str]) -> Mapping[str, Sequence[Epoch]]:
        """The same of several tenants, read at once."""

    async def secrets(self, slug: str) -> TenantSecrets: ...

    async def new_epoch(self, slug: str, parent: int | None, *, restored_from_at: str | None = None) -> Epoch:
        """Open the next epoch, close the one before, make it the tenant's; a number is never given out twice."""

    async def close_epoch(self, slug: str, n: int) -> None: ...

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
        """Record that the replica of this epoch is durable up to `txid`; never lowers what is recorded."""

    async def verified(self, slug: str, n: int, *, ok: bool, detail: Mapping[str, Any]) -> None:
        """Record the outcome of restoring this epoch elsewhere; answers a verify request."""

    async def verify_requests(self) -> Sequence[tuple[str, int | None]]:
        """Tenants whose backup somebody asked to have verified; None = the newest epoch."""

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
        """Write what changed of it; `since` moves when `status` does."""

    async def save_schedule(self, slug: str, at: float | None) -> None:
        """When its instance has something to do next, as it last said; None for nothing."""

    async def restore_done(self, slug: str, requested_at: float, detail: Mapping[str, Any]) -> None:
        """Clear the restore request if it is still the one made at `requested_at`."""

    async def event(self, slug: str, kind: str, message: str, detail: Mapping[str, Any] | None = None) -> None: ...

    async def record_usage(self, slug: str, epoch: int, reading: Mapping[str, Any]) -> None:
        """Count a reading of cumulative counters; the same reading twice counts once."""

    async def begin_purge(self, slug: str) -> bool:
        """True if it is deleted and its grace is over; from then on nobody can bring it back."""

    async def purge(self, slug: str) -> None:
        """After data and backups are gone: drop keys and secrets, leave a tombstone."""

    async def orphan_ended(self, slug: str, what: Sequence[str]) -> None:
        """Write down that these things of an unknown tenant were ended: its instance, its link, its copying."""

    async def wait_change(self, timeout_s: float) -> set[str]:
        """Slugs written through the API since the last call, as soon as there are any; empty after the timeout."""
