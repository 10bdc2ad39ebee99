"""What the activator knows without the control plane: the states and key digests in `run/snapshot.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from control_plane.domain.tenants import Status


@dataclass(frozen=True, slots=True)
class TenantView:
    """One tenant as the control plane last wrote it down."""

    slug: str
    status: Status
    reason: str = ""
    failure: str = ""
    keys: Mapping[str, float | None] = field(default_factory=dict)  # SHA-256 in hex -> expiry, seconds since 1970
    state: Mapping[str, Any] | None = None  # body of PUT /api/instance/state

    def admits(self, presented: Iterable[str], now: float) -> bool:
        """True if one of these key texts is a key of this tenant and has not expired."""
        for text in presented:
            digest = sha256(text.encode("latin-1", "replace")).hexdigest()
            if digest in self.keys:
                expires_at = self.keys[digest]
                if expires_at is None or now < expires_at:
                    return True
        return False


class Snapshot:
    """The snapshot file, parsed again only when another file lies in its place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._tenants: Mapping[str, TenantView] = {}

    def tenant(self, slug: str) -> TenantView | None:
        """The tenant as last written, None if there is none of that name; from the last snapshot that could be read."""
        self._refresh()
        return self._tenants.get(slug)

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
            version = (found.st_ino, found.st_mtime_ns, found.st_size)
            if version == self._version:
                return
            tenants = parse(self._path.read_bytes())
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return  # written by rename, so a whole one follows; the last one read stays in force
        self._version, self._tenants = version, tenants


def parse(text: bytes) -> Mapping[str, TenantView]:
    """Every tenant of a snapshot by its slug. Raises ValueError, KeyError or TypeError for what is none."""
    return {
        slug: TenantView(
            slug=slug,
            status=Status(each["status"]),
            reason=each.get("reason") or "",
            failure=each.get("failure") or "",
            keys={key["sha256"]: key.get("expires_at") for key in each.get("keys", ())},
            state=each.get("state"),
        )
        for slug, each in json.loads(text)["tenants"].items()
    }
