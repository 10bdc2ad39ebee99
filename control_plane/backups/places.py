"""Where backups lie: one place per epoch, below the address that the operator set as `replica_url`."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from control_plane.backups.s3 import Bucket
from control_plane.errors import ConfigError
from control_plane.reconcile.ports import Unavailable

SCHEMES = ("s3", "sftp", "gs", "abs", "nats", "webdav", "webdavs")


class Places:
    """The store of all backups of this control plane: a directory, or an address that Litestream understands."""

    def __init__(self, replica_url: str) -> None:
        parts = urlsplit(replica_url)
        self._url: SplitResult | None = parts if parts.scheme in SCHEMES else None
        self.folder: Path | None = Path(parts.path).absolute() if parts.scheme in ("", "file") else None
        if self._url is None and self.folder is None:
            raise ConfigError(f"`replica_url`: `{parts.scheme}:` is none of a directory, {', '.join(SCHEMES)}")

    def tenant(self, slug: str, epoch: int) -> str:
        """The replica of one epoch of a tenant, as Litestream wants it named."""
        return self._at(f"tenants/{slug}/{epoch:08d}")

    def control(self, incarnation: int) -> str:
        """The replica of the control plane's own database in one incarnation."""
        return self._at(f"control/{incarnation:08d}")

    def require(self) -> None:
        """Raise `Unavailable` if the store is a directory that is not there, such as a disk that was not mounted."""
        if self.folder is not None and not self.folder.is_dir():
            raise Unavailable(f"the backups' folder {self.folder} is not there")

    def destroy_tenant(self, slug: str) -> None:
        """Remove every epoch of a tenant. Raises `Unavailable` where that cannot be done from here."""
        self.require()
        if self._url is not None and self._url.scheme == "s3":
            Bucket(self._url).remove(f"tenants/{slug}")
            return
        if self.folder is None:
            raise Unavailable(f"remove {self._at(f'tenants/{slug}/')} by the store's own means")
        folder = self.folder / "tenants" / slug
        if folder.exists():
            shutil.rmtree(folder)

    def owners(self) -> set[str]:
        """Tenants that have a place. Raises `Unavailable` where the store cannot be listed from here."""
        self.require()
        if self._url is not None and self._url.scheme == "s3":
            return {name.partition("/")[0] for name in Bucket(self._url).names("tenants")}
        if self.folder is None:
            raise Unavailable("the backups' store cannot be listed from here")
        folder = self.folder / "tenants"
        return {each.name for each in folder.iterdir()} if folder.exists() else set()

    def _at(self, path: str) -> str:
        if self._url is None:
            return f"file://{self.folder}/{path}"
        return urlunsplit(self._url._replace(path=f"{self._url.path.rstrip('/')}/{path}"))
