"""Tenants' data folders, as the reconciler uses them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from control_plane.domain.secrets import TenantSecrets


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
