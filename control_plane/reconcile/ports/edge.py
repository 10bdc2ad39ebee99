"""The edge, as the reconciler uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Edge(Protocol):
    """The routing table: a folder of hard links; implemented by `control_plane.routing`."""

    async def link(self, slug: str) -> None:
        """Route to the instance's present own.sock, replacing a link to an earlier one at once."""

    async def unlink(self, slug: str) -> None:
        """Take it out of routing; no error if it is not in."""

    async def linked(self, slug: str | None = None) -> Mapping[str, bool]:
        """Every slug that has a link, or only this one; True when it is the same file as its present own.sock, False when it is stale."""
