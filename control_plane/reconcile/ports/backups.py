"""Backups of tenants, as the reconciler uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


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
