"""The store of the backups as objects by name: what Litestream has no command for, over a directory, S3 or SFTP alike.

Names are paths below the address that the operator set as `replica_url`, such as `tenants/acme/00000001/ltx/9/….ltx`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit


class Stored(NamedTuple):
    """One object: its name, its bytes, and when it was written (seconds since 1970)."""

    name: str
    size: int
    modified: float


class ObjectStore(Protocol):
    """A few operations, each idempotent and durable when it returns. All raise `Unavailable` when the store does not go along."""

    async def put(self, name: str, content: bytes) -> None:
        """Write a small object, whole or not at all, over one that is there."""

    async def get(self, name: str) -> bytes | None:
        """A small object; None if there is none."""

    async def entries(self, folder: str) -> list[Stored]:
        """Every object below the folder, at any depth, in order of name; none if there is no such folder."""

    async def folders(self, folder: str) -> set[str]:
        """Names of what lies directly in the folder and has something below it; none if there is no such folder."""

    async def remove(self, names: Iterable[str]) -> None:
        """Remove these objects; one that is not there is no error."""

    async def remove_folder(self, folder: str) -> None:
        """Remove everything below the folder."""


def open_store(replica_url: str) -> ObjectStore | None:
    """The store at this address; None for a kind that only Litestream speaks to."""
    parts = urlsplit(replica_url)
    if parts.scheme in ("", "file"):
        from control_plane.backups.folder_store import FolderStore

        return FolderStore(Path(parts.path).absolute())
    if parts.scheme == "s3":
        from control_plane.backups.s3_store import S3Store

        return S3Store(parts)
    if parts.scheme == "sftp":
        from control_plane.backups.sftp_store import SftpStore

        return SftpStore(parts)
    return None
