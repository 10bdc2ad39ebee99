"""What the activator knows without the control plane: the states and key digests in `run/snapshot/`."""

from __future__ import annotations

import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from control_plane.domain.slugs import PATTERN
from control_plane.domain.tenants import Status
from control_plane.runtimes.proc import boot_id

INDEX = ".index"
SETTLED_NS = 50_000_000  # a file younger than the file system's clock can tell apart is read again
REMEMBERED = 1024  # tenants whose files are kept parsed


class Unreadable(Exception):
    """Nothing that can be believed is written of the tenant: nobody may be let in, and nobody be told it is gone."""


@dataclass(frozen=True, slots=True)
class KeyView:
    """One key: its kind (proxy, app, admin) and when it expires, seconds since 1970, None = never."""

    kind: str = "proxy"
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class TenantView:
    """One tenant as the control plane last wrote it down."""

    slug: str
    status: Status
    reason: str = ""
    failure: str = ""
    keys: Mapping[str, KeyView] = field(default_factory=dict)  # by SHA-256 in hex
    state: Mapping[str, Any] | None = None  # body of PUT /api/instance/state

    def admits(self, presented: Iterable[str], now: float, kinds: Collection[str] = ()) -> bool:
        """True if one of these key texts is a key of this tenant, of one of `kinds` if given, that has not expired."""
        for text in presented:
            digest = sha256(text.encode("latin-1", "replace")).hexdigest()
            found: KeyView | None = None
            for known, key in self.keys.items():  # all of them: how long it takes tells nothing of a key
                if hmac.compare_digest(known, digest):
                    found = key
            if found is None or (kinds and found.kind not in kinds):
                continue
            if found.expires_at is None or now < found.expires_at:
                return True
        return False


class Snapshot:
    """The folder, a tenant's file parsed again only when another one lies in its place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index = _ParsedFile(folder / INDEX)
        self._tenants: OrderedDict[str, tuple[_ParsedFile, TenantView | None]] = OrderedDict()
        self._last_word = (0.0, 0.0)  # `written_at` as last read, and the monotonic time when it first was

    def tenant(self, slug: str) -> TenantView | None:
        """The tenant as last written, None if there is none of that name.

        Raises `Unreadable` when its file cannot be read or when nothing was confirmed since the machine was started.
        """
        if not PATTERN.fullmatch(slug):
            return None
        if self.written_at() is None:
            raise Unreadable("the snapshot is not of this boot of the machine")
        file, view = self._tenants.get(slug) or (_ParsedFile(self._folder / f"{slug}.json"), None)
        try:
            if file.refresh():
                view = _view(slug, file.content)
                self._tenants[slug] = file, view
                if len(self._tenants) > REMEMBERED:
                    self._tenants.popitem(last=False)
        except FileNotFoundError:
            self._tenants.pop(slug, None)
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._tenants.pop(slug, None)
            raise Unreadable(f"what is written of {slug} cannot be read: {error}") from None
        if slug in self._tenants:
            self._tenants.move_to_end(slug)
        return view

    def age_s(self) -> float:
        """How old the control plane's last word is: by the wall clock, or since it was read when that is longer."""
        written_at, now = self.written_at() or 0.0, time.monotonic()
        if written_at != self._last_word[0]:
            self._last_word = written_at, now
        return max(time.time() - written_at, now - self._last_word[1], 0.0)

    def written_at(self) -> float | None:
        """When the control plane last said that all of it is true; None if it has not since the machine was started."""
        try:
            self._index.refresh()
            if self._index.content["boot"] == boot_id():
                return float(self._index.content["written_at"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None


class _ParsedFile:
    """A JSON file that is replaced by rename."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self.content: Any = None

    def refresh(self) -> bool:
        """True if it was read anew. Raises OSError or ValueError; it is then tried again the next time."""
        found = self._path.stat()
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if version == self._version:
            return False
        self._version, self.content = None, None
        self.content = json.loads(self._path.read_bytes())
        if time.time_ns() - found.st_mtime_ns > SETTLED_NS:
            self._version = version
        return True


def _view(slug: str, content: Mapping[str, Any]) -> TenantView:
    if content["slug"] != slug:
        raise ValueError("it is about another tenant")
    return TenantView(
        slug=slug,
        status=Status(content["status"]),
        reason=content.get("reason") or "",
        failure=content.get("failure") or "",
        keys={key["sha256"]: KeyView(key.get("kind", "proxy"), key.get("expires_at")) for key in content["keys"]},
        state=content.get("state"),
    )
