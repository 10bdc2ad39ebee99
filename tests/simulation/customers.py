"""Who makes, rotates and ends keys through the control plane's API, and remembers what was promised of each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from control_plane.api.tenant_keys import is_effective
from control_plane.domain.key_ends import NEVER
from control_plane.domain.tenants import Desired, Generation, KeyRecord
from tests.simulation.invariants import KeyPromise
from tests.simulation.plane import Plane, PlaneDead
from tests.simulation.routes import CONFIG, digest_of
from tests.simulation.sim_snapshot import SnapshotWriter
from tests.simulation.sim_store import SimStore, Tables

WAIT_S = 2.0
AT_ONCE_S = 1.0
POLL_S = 0.02
KEYS_AT_MOST = 6  # of a tenant


@dataclass(slots=True)
class ApiProcess:
    """The part of one life of the control plane that answers customers."""

    plane: Plane
    store: SimStore
    snapshot: SnapshotWriter


@dataclass(slots=True)
class Held:
    """A key in a customer's hands."""

    text: str
    revoked: bool = False


class Customers:
    """Each verb is one request; when the control plane dies under it, nothing was promised."""

    def __init__(self, tables: Tables, chance: random.Random, api: Callable[[], ApiProcess | None]) -> None:
        self._tables = tables
        self._world = tables.world
        self._chance = chance
        self._api = api
        self.held: dict[str, list[Held]] = {}

    def sign_up(self, slug: str) -> None:
        """A new tenant comes with a key."""
        text = f"sk-sy-{slug}-{self._world.number()}"
        self.held[slug] = [Held(text)]
        self._tables.invariants.at_key_asked(digest_of(text), slug)
        self._tables.create_key(slug, digest_of(text))

    async def ask_again(self, slug: str) -> str:
        """What holds now of every key in hand, after one of them was ended and one was made; what took too long, or ""."""
        known = [each for each in self.held.get(slug, ()) if self._tables.key(slug, digest_of(each.text)) is not None]
        alive = [each for each in known if not each.revoked]
        if alive and not await self.revoke(slug, self._chance.choice(alive), within_s=AT_ONCE_S):
            return "a revocation"
        if not await self.create(slug, within_s=AT_ONCE_S):
            return "a new key"
        for held in known:
            if not await self._request(slug, held.text, lambda: None, AT_ONCE_S, certain=True):
                return "what did not change"
        return ""

    async def create(self, slug: str, lifetime_s: float | None = None, *, within_s: float = WAIT_S) -> bool:
        """Make a key, which may have an end of its own."""
        if sum(not each.revoked for each in self.held.get(slug, ())) >= KEYS_AT_MOST:
            return True
        text = f"sk-sy-{slug}-{self._world.number()}"
        expires_at = self._world.now + lifetime_s if lifetime_s is not None else None
        self.held.setdefault(slug, []).append(Held(text))
        make = partial(self._tables.create_key, slug, digest_of(text), expires_at)
        return await self._request(slug, text, make, within_s)

    async def revoke(self, slug: str, held: Held, *, within_s: float = WAIT_S) -> bool:
        """End a key; it stays in hand, to be tried again."""
        held.revoked = True
        digest = digest_of(held.text)

        def end() -> None:
            key = self._tables.key(slug, digest)
            if key is not None and key.revoked_at is None:
                self._tables.change_key(slug, digest, revoked_at=self._world.now)

        return await self._request(slug, held.text, end, within_s)

    async def rotate(self, slug: str, held: Held) -> None:
        """A successor; the old one works for a while longer."""
        digest, successor = digest_of(held.text), f"sk-sy-{slug}-{self._world.number()}"

        def exchange() -> None:
            now, key = self._world.now, self._tables.key(slug, digest)
            if key is None or not key.valid_at(now):
                return
            ends = now + self._chance.choice((0.5, 2.0))
            self._tables.change_key(slug, digest, expires_at=min(ends, key.expires_at or NEVER))
            self._tables.create_key(slug, digest_of(successor), key.expires_at)
            self.held[slug].append(Held(successor))

        self._tables.invariants.at_key_asked(digest_of(successor), slug)
        await self._request(slug, held.text, exchange)
        await self._request(slug, successor, lambda: None)  # what is known of the new one

    async def extend(self, slug: str, held: Held) -> None:
        """A key that was to end is given more time, or all of it."""
        digest = digest_of(held.text)
        expires_at = self._chance.choice((None, self._world.now + 5.0))

        def change() -> None:
            key = self._tables.key(slug, digest)
            if key is not None and key.revoked_at is None:
                self._tables.change_key(slug, digest, expires_at=expires_at)

        await self._request(slug, held.text, change)

    async def _request(
        self, slug: str, text: str, write: Callable[[], object], within_s: float = WAIT_S, *, certain: bool = False
    ) -> bool:
        """Write, wait until it is effective everywhere, answer; what is answered is promised. True if it was.

        `certain`: no other request for this key is on its way.
        """
        api, digest = self._api(), digest_of(text)
        if api is None or not api.plane.alive:
            return False
        self._tables.invariants.at_key_asked(digest, slug)
        try:
            written = await api.plane.effect(lambda: self._written(slug, digest, write))
            if written is None or not await self._becomes_effective(api, slug, written[0], within_s):
                return False
            on_record = await self._on_record(api.plane, digest)
            await api.plane.effect(lambda: None)  # the answer
        except PlaneDead:
            return False
        generation, key = written
        ends, expires_at = key.revoked_at is not None, key.expires_at
        promise = KeyPromise(generation, ends, expires_at, on_record)
        self._tables.invariants.at_key_told(digest, promise, certain=certain)
        return True

    def _written(self, slug: str, digest: str, write: Callable[[], object]) -> tuple[Generation, KeyRecord] | None:
        tenant = self._tables.tenants.get(slug)
        if tenant is None or tenant.desired is Desired.DELETED:
            return None
        write()
        key = self._tables.key(slug, digest)
        return (self._tables.tenants[slug].generation, key) if key is not None else None

    async def _becomes_effective(self, api: ApiProcess, slug: str, generation: Generation, within_s: float) -> bool:
        """The real question, asked of this life's parts."""
        parts: Any = SimpleNamespace(snapshot=api.snapshot, store=api.store, config=self)
        until = self._world.monotonic + within_s
        while self._world.monotonic < until:
            if await is_effective(parts, slug, generation):
                return True
            await api.plane.pause(POLL_S)
        return False

    def edge_socket(self, slug: str) -> Any:
        """As the configuration names it."""
        return SimpleNamespace(exists=lambda: slug in self._world.links, name=CONFIG.edge_socket(slug).name)

    async def _on_record(self, plane: Plane, digest: str) -> bool:
        """Whether the key's end is beside the backups, as `KeyEnds.wait` finds."""
        until = self._world.monotonic + WAIT_S
        while self._world.monotonic < until:
            due = self._tables.ends_due().get(digest, NEVER)
            if self._world.ends.get(digest, NEVER) == due:
                return True
            await plane.pause(POLL_S)
        return False
