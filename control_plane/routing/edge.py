"""The edge's routing table: a folder of hard links to instances' sockets (`run/edge/SLUG.sock`).

Caddy dials the link by the slug, so making it routes a tenant and removing it ends the routing of new connections;
nothing is reloaded. A link points at the socket *file* of one start of an instance: after the next start it is stale
(dialling it is refused, which sends the call to the activator) until it is made anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from control_plane.config import Config
from control_plane.reconcile.ports import Unavailable

_LINK, _MAKING = ".sock", ".making"


class FolderEdge:
    """The `Edge` of one machine; only the control plane and the activator write the folder."""

    def __init__(self, config: Config) -> None:
        self._config = config
        config.edge_dir.mkdir(parents=True, exist_ok=True)

    async def link(self, slug: str) -> None:
        """Route to the present own.sock, replacing an earlier link at once. Raises `Unavailable` if it is no socket."""
        own, link = self._config.own_socket(slug), self._config.edge_socket(slug)
        making = link.with_suffix(_MAKING)
        making.unlink(missing_ok=True)
        try:
            os.link(own, making, follow_symlinks=False)
            # Asked of the link, not of own.sock, which its tenant could exchange in between.
            if not stat.S_ISSOCK(making.lstat().st_mode):
                raise Unavailable(f"{own} is not a socket")
            making.replace(link)
        except FileNotFoundError:
            raise Unavailable(f"{slug} has no own.sock to route to") from None
        finally:
            # rename(2) leaves the old name in place when both are already the same file.
            making.unlink(missing_ok=True)

    async def unlink(self, slug: str) -> None:
        """Take the tenant out of routing; calls already on their way are not touched."""
        self._config.edge_socket(slug).unlink(missing_ok=True)

    async def is_linked(self, slug: str) -> bool:
        """True if this tenant's link is the same file as its present own.sock."""
        return _same_file(self._config.edge_socket(slug), self._config.own_socket(slug))

    async def linked(self, slug: str | None = None) -> Mapping[str, bool]:
        """Slugs in the routing table, or only this one; True where the link is the same file as the present own.sock."""
        if slug is not None:
            there = os.path.lexists(self._config.edge_socket(slug))
            return {slug: await self.is_linked(slug)} if there else {}
        return {each: await self.is_linked(each) for each in await self.named()}

    async def named(self) -> set[str]:
        """Slugs that have a link, be it a stale one."""
        with suppress(FileNotFoundError), os.scandir(self._config.edge_dir) as found:
            return {each.name.removesuffix(_LINK) for each in found if each.name.endswith(_LINK)}
        return set()


def _same_file(link: Path, own: Path) -> bool:
    with suppress(FileNotFoundError):
        here, there = os.lstat(link), os.lstat(own)
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    return False
