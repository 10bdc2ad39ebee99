"""Where backups lie: one place per epoch, below the address that the operator set as `replica_url`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from control_plane.backups.object_store import ObjectStore, Stored, open_store
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
        self._store = open_store(replica_url)

    def tenant(self, slug: str, epoch: int) -> str:
        """The replica of one epoch of a tenant, as Litestream wants it named."""
        return self._at(epoch_folder(slug, epoch))

    def control(self, incarnation: int) -> str:
        """The replica of the control plane's own database in one incarnation."""
        return self._at(f"control/{incarnation:08d}")

    @property
    def store(self) -> ObjectStore:
        """What lies there, by name. Raises `Unavailable` for a kind of store that only Litestream speaks to."""
        if self._store is None:
            raise Unavailable("what Litestream has no command for must be done by this store's own means")
        return self._store

    @property
    def listed(self) -> bool:
        """Whether `store` can be had."""
        return self._store is not None

    @property
    def shown(self) -> str:
        """The store's address for people: without a password."""
        if self._url is None:
            return str(self.folder)
        return urlunsplit(self._url._replace(netloc=self._url.netloc.rpartition("@")[2]))

    def require(self) -> None:
        """Raise `Unavailable` if the store is a directory that is not there, such as a disk that was not mounted."""
        if self.folder is not None and not self.folder.is_dir():
            raise Unavailable(f"the backups' folder {self.folder} is not there")

    def _at(self, path: str) -> str:
        if self._url is None:
            return f"file://{self.folder}/{path}"
        return urlunsplit(self._url._replace(path=f"{self._url.path.rstrip('/')}/{path}"))


TENANTS = "tenants"


def tenant_folder(slug: str) -> str:
    """Every epoch of a tenant, below the store."""
    return f"{TENANTS}/{slug}"


def epoch_folder(slug: str, epoch: int) -> str:
    """One epoch of a tenant, below the store."""
    return f"{tenant_folder(slug)}/{epoch:08d}"


def epochs_in(stored: Iterable[Stored]) -> dict[str, dict[int, tuple[float, float]]]:
    """Of each tenant the epochs of which anything is there, and when the first and the last of it was written."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for each in stored:
        top, _, path = each.name.partition("/")
        slug, _, rest = path.partition("/")
        number = rest.partition("/")[0]
        if top == "tenants" and number.isdigit():
            lives = found.setdefault(slug, {})
            first, last = lives.get(int(number), (each.modified, each.modified))
            lives[int(number)] = min(first, each.modified), max(last, each.modified)
    return found
