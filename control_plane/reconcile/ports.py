"""Everything the reconciler sees and does, as small protocols; the real parts and the simulation stand behind them.

Rules for whoever implements one: every method may be called again after a crash at any point and must then end in the
same state (idempotent); a method that returns has done what it says; one that could not raises `Unavailable` (try
again later) or an exception of its own that names the reason. No method blocks the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from control_plane.domain.plans import Plan
from control_plane.domain.secrets import TenantSecrets
from control_plane.domain.tenants import Epoch, Generation, Status, Tenant


class Unavailable(Exception):
    """The other side could not be reached or is not ready for it now; trying again later may work."""


class Clock(Protocol):
    """Time, so that a simulation can make its own."""

    def now(self) -> float:
        """Wall clock, seconds since 1970 UTC; may jump."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""

    async def sleep(self, seconds: float) -> None: ...


# --- the control plane's database ------------------------------------------------------------------------------------


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


# --- the edge --------------------------------------------------------------------------------------------------------


class Edge(Protocol):
    """The routing table: a folder of hard links; implemented by `control_plane.routing`."""

    async def link(self, slug: str) -> None:
        """Route to the instance's present own.sock, replacing a link to an earlier one at once."""

    async def unlink(self, slug: str) -> None:
        """Take it out of routing; no error if it is not in."""

    async def linked(self, slug: str | None = None) -> Mapping[str, bool]:
        """Every slug that has a link, or only this one; True when it is the same file as its present own.sock, False when it is stale."""


# --- backups ---------------------------------------------------------------------------------------------------------


class RestoreOutcome(StrEnum):
    RESTORED = "restored"
    NOTHING = "nothing"  # no backup at that place
    UNREADABLE = "unreadable"  # there is one, and it does not restore to a sound database


@dataclass(frozen=True, slots=True)
class RestoreResult:
    outcome: RestoreOutcome
    txid: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Synced:
    """A durable barrier: everything committed before the call is at the replica."""

    txid: int
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class VerifyResult:
    ok: bool
    txid: int = 0
    ledger_seq: int = 0
    ledger_hash: str = ""
    bytes: int = 0
    detail: str = ""


class Backups(Protocol):
    """Litestream of this machine, tenants only; implemented by `control_plane.backups`. All may raise `Unavailable`."""

    async def registered(self, slug: str | None = None) -> Mapping[str, int]:
        """Slug, or only this one -> epoch whose replica path its database is being copied to now."""

    async def register(self, slug: str, epoch: int) -> None:
        """Copy the tenant's database to this epoch's path from now on; an error if another epoch's is registered."""

    async def unregister(self, slug: str) -> None:
        """Final sync, then stop copying; no error if it is not registered."""

    async def sync_wait(self, slug: str) -> Synced: ...

    async def restore(self, slug: str, epoch: int, into: Path, *, at: str | None = None) -> RestoreResult:
        """Write the database of that epoch (at that time, RFC 3339) to `into`, whole or not at all."""

    async def verify(self, slug: str, epoch: int) -> VerifyResult:
        """Restore elsewhere, integrity check, ledger check; the copy is gone afterwards."""

    async def destroy(self, slug: str) -> None:
        """Remove every epoch's replica of a deleted tenant."""

    async def owners(self) -> set[str]:
        """Slugs of which there is a replica, known tenants or not; `Unavailable` where the store cannot be listed."""


# --- the instance, over its own socket -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probe:
    """What an instance says of itself."""

    ready: bool
    draining: bool
    generation: Generation | None  # of the state it last applied; None = none yet
    epoch: int


@dataclass(frozen=True, slots=True)
class Activity:
    in_flight: int  # calls and streams running now
    idle_s: float  # since the last call ended, by the instance's own monotonic clock
    last_request_at: float | None = None  # None: none since it started
    scheduled_next_at: float | None = None


@dataclass(frozen=True, slots=True)
class Drained:
    drained: bool  # no call running, journal folded
    in_flight: int = 0
    ledger_seq: int = 0
    ledger_hash: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    ok: bool
    ledger_seq: int = 0
    ledger_hash: str = ""
    detail: str = ""


class Instances(Protocol):
    """`/ready` and `/api/instance/*` of one instance; every call has a deadline and raises `Unavailable`."""

    async def probe(self, slug: str) -> Probe | None:
        """None when nobody answers, or somebody who does not accept this tenant's instance key."""

    async def activity(self, slug: str) -> Activity: ...

    async def push_state(self, slug: str, state: Mapping[str, Any]) -> Generation:
        """Apply the whole desired state; the generation that the instance then has."""

    async def renew_lease(self, slug: str, lease_s: float) -> None:
        """Its keys are good for so long from now, if its plan's keys need a lease; never shortens one."""

    async def drain(self, slug: str, deadline_s: float, *, suspended: bool = False) -> Drained:
        """`suspended` ends its running streams at once."""

    async def resume(self, slug: str) -> None:
        """Undo a drain."""

    async def verify(self, slug: str) -> Verified: ...

    async def usage(self, slug: str) -> Mapping[str, Any]: ...


# --- volumes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VolumeState:
    """A tenant's data folder. Its mark says which epoch this very volume may continue."""

    database: bool = False
    epoch: int | None = None  # None = no mark: nothing is known of where this volume's database came from
    replicated: bool = False  # a replica of that epoch may have been begun from here
    staged: float | None = None  # a restored database lies ready; the restore request's time, 0.0 = the newest backup
    staged_epoch: int | None = None  # the epoch of this tenant that it was restored from
    restored_for: float | None = None  # the database came from this restore request
    rejected: bool = False  # and did not verify
    aside: int | None = None  # the epoch of the database before that, still kept; 0 = it had no mark


@dataclass(frozen=True, slots=True)
class LedgerHead:
    seq: int
    hash: str


class Volumes(Protocol):
    """Data folders and instance.json."""

    async def state(self, slug: str) -> VolumeState: ...

    async def prepare(self, slug: str, epoch: int) -> None:
        """Make the folders and mark the volume as this epoch's, nothing of it replicated yet."""

    async def mark_replicated(self, slug: str) -> None:
        """Durable before the first byte may reach the epoch's replica path."""

    async def staging_file(self, slug: str) -> Path:
        """Where a restore is to be written; emptied of what an interrupted one left."""

    async def staged(self, slug: str, request: float, epoch: int | None) -> None:
        """The staging file is whole, answers this request and came from that epoch of the tenant (None: another's)."""

    async def activate(self, slug: str, epoch: int) -> None:
        """The staged database becomes the volume's, under `epoch`; what was there is kept aside, journal and all."""

    async def reject(self, slug: str) -> None:
        """Mark that the restored database did not verify."""

    async def put_back(self, slug: str, epoch: int) -> None:
        """The database kept aside becomes the volume's again, under `epoch`; if none is, the volume becomes empty."""

    async def drop_aside(self, slug: str) -> None: ...

    async def drop_staged(self, slug: str) -> None: ...

    async def write_instance_file(
        self, slug: str, *, epoch: int, fresh: bool, previous_head: LedgerHead | None, secrets: TenantSecrets
    ) -> Path:
        """Write instance.json (0400, the instance's owner) whole; its path.

        Without `fresh` an instance that finds no database must not make one: it would be taken for the one it lost.
        """

    async def data_dir(self, slug: str) -> Path: ...

    async def socket_dir(self, slug: str) -> Path: ...

    async def destroy(self, slug: str) -> None:
        """Remove data, sockets and secrets of a deleted tenant."""

    async def owners(self) -> set[str]:
        """Slugs of which there is a data folder, known tenants or not."""
