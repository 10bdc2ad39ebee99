"""Which calls are held while their tenants wake: bounded in all and per tenant, and shared out fairly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """Bounds on what is held at one moment."""

    calls: int = 1024
    calls_per_tenant: int = 64
    body_bytes: int = 64 << 20  # of bodies that are read before there is somebody to take them


class Full(Exception):
    """No place for this call; `why` names the bound: `tenant` or `all`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(eq=False, slots=True)
class Place:
    """A held call's place; `lost` is set when it was given to a tenant that had none."""

    lost: asyncio.Event = field(default_factory=asyncio.Event)


class HeldCalls:
    """Gives places to calls. When all are taken, the tenant that holds most gives its newest one to one that holds fewer."""

    def __init__(self, limits: HoldLimits) -> None:
        self.limits = limits
        self.body_bytes = 0
        self._places: dict[str, list[Place]] = {}
        self._held = 0

    def __len__(self) -> int:
        return self._held

    @property
    def tenants(self) -> int:
        """How many tenants have calls that are held."""
        return len(self._places)

    @contextmanager
    def place(self, slug: str) -> Iterator[Place]:
        """A place for one call while the context lasts. Raises `Full`."""
        mine = len(self._places.get(slug, ()))
        if mine >= self.limits.calls_per_tenant:
            raise Full("tenant")
        if self._held >= self.limits.calls:
            self._displace(mine)
        place = Place()
        self._places.setdefault(slug, []).append(place)
        self._held += 1
        try:
            yield place
        finally:
            if not place.lost.is_set():
                self._remove(slug, place)

    def may_read_ahead(self) -> bool:
        """False while the bodies that are held fill their bound: callers are then read no further."""
        return self.body_bytes < self.limits.body_bytes

    def _displace(self, mine: int) -> None:
        """Take the newest place of the tenant that has most, if that leaves it with no fewer than the taker then has."""
        slug = max(self._places, key=lambda each: len(self._places[each]), default=None)
        if slug is None or len(self._places[slug]) <= mine + 1:
            raise Full("all")
        place = self._places[slug][-1]
        self._remove(slug, place)
        place.lost.set()

    def _remove(self, slug: str, place: Place) -> None:
        self._places[slug].remove(place)
        self._held -= 1
        if not self._places[slug]:
            del self._places[slug]
