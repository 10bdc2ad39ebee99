"""Volumes and backups of the simulated machine, as one life of the control plane reaches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from control_plane.domain.secrets import TenantSecrets
from control_plane.reconcile.ports import (
    LedgerHead,
    RestoreOutcome,
    RestoreResult,
    Synced,
    Unavailable,
    VerifyResult,
    VolumeState,
)
from tests.simulation.plane import Plane
from tests.simulation.sim_store import Tables
from tests.simulation.world import Database, Volume, World

T = TypeVar("T")


class SimVolumes:
    """`Volumes`; an exchange is two steps with a crash point in between, as it is on a disk."""

    def __init__(self, plane: Plane, tables: Tables) -> None:
        self._plane = plane
        self._tables = tables
        self._world = tables.world

    async def state(self, slug: str) -> VolumeState:
        return await self._plane.effect(lambda: self._world.volume_state(slug))

    async def prepare(self, slug: str, epoch: int) -> None:
        def mark() -> None:
            volume = self._world.volumes.setdefault(slug, Volume())
            volume.epoch, volume.replicated, volume.restored_for, volume.rejected = epoch, False, None, False

        await self._write(mark)

    async def mark_replicated(self, slug: str) -> None:
        def mark() -> None:
            self._volume(slug).replicated = True
            self._world.fresh[slug] = False

        await self._write(mark)

    async def staging_file(self, slug: str) -> Path:
        await self._write(lambda: self._world.staged.pop(slug, None), needs_room=False)
        return Path(slug)

    async def staged(self, slug: str, request: float, epoch: int | None) -> None:
        def mark() -> None:
            self._world.staged[slug] = (self._world.staged[slug][0], request, epoch)

        await self._write(mark)

    async def activate(self, slug: str, epoch: int) -> None:
        world = self._world
        staged, request, _ = world.staged[slug]
        tenant = self._tables.tenants[slug]
        asked = tenant.restore if request else None
        newest = asked is None
        present = world.volume_state(slug).database
        world_check = self._tables.invariants.at_restore

        def put_aside() -> None:
            world_check(slug, staged, self._tables.line(slug, before=epoch), newest=newest, present=present)
            volume, kept = world.volumes.pop(slug, None), world.aside.get(slug)
            if volume is not None and volume.database is not None and kept is None:
                world.aside[slug] = volume

        def put_in_place() -> None:
            world.volumes[slug] = Volume(staged, epoch=epoch, restored_for=request)
            if request:
                self._tables.invariants.asked_for.add((slug, epoch))
                self._tables.invariants.at_going_back(slug)
            del world.staged[slug]

        await self._write(put_aside)
        await self._write(put_in_place)

    async def reject(self, slug: str) -> None:
        await self._write(lambda: setattr(self._volume(slug), "rejected", True))

    async def put_back(self, slug: str, epoch: int) -> None:
        def clear() -> None:
            self._world.volumes.pop(slug, None)

        def exchange() -> None:
            kept = self._world.aside.pop(slug, None)
            if kept is not None:
                kept.epoch, kept.replicated, kept.restored_for, kept.rejected = epoch, False, None, False
                self._world.volumes[slug] = kept

        await self._write(clear)
        await self._write(exchange)

    async def drop_aside(self, slug: str) -> None:
        def drop() -> None:
            kept = self._world.aside.pop(slug, None)
            self._tables.invariants.at_dropped(slug, kept, self._world.volumes.get(slug))

        await self._write(drop, needs_room=False)

    async def drop_staged(self, slug: str) -> None:
        await self._write(lambda: self._world.staged.pop(slug, None), needs_room=False)

    async def write_instance_file(
        self, slug: str, *, epoch: int, fresh: bool, previous_head: LedgerHead | None, secrets: TenantSecrets
    ) -> Path:
        def write() -> Path:
            self._world.fresh[slug] = fresh
            return Path(slug)

        return await self._write(write)

    async def data_dir(self, slug: str) -> Path:
        return Path(slug)

    async def socket_dir(self, slug: str) -> Path:
        return Path(slug)

    async def destroy(self, slug: str) -> None:
        def remove() -> None:
            self._tables.invariants.at_purge(self._tables.tenants.get(slug), slug in self._tables.doomed)
            for each in (self._world.volumes, self._world.aside, self._world.staged, self._world.sockets):
                each.pop(slug, None)

        await self._write(remove, needs_room=False)

    async def _write(self, do: Callable[[], T], *, needs_room: bool = True) -> T:
        """An effect on the disk, which may be slow, and full for what `needs_room`."""

        def write() -> T:
            if needs_room:
                self._world.require_disk()
            return do()

        if self._world.disk_slow:
            await self._plane.pause(self._plane.chance.uniform(0.05, 0.6))
        return await self._plane.effect(write, OSError)

    async def owners(self) -> set[str]:
        return set(self._world.volumes)

    def _volume(self, slug: str) -> Volume:
        volume = self._world.volumes.get(slug)
        if volume is None or volume.epoch is None:
            raise Unavailable("its data folder is gone")
        return volume


class SimBackups:
    """`Backups`: a Litestream that may be away, and an object store behind it that may be, too."""

    def __init__(self, plane: Plane, tables: Tables) -> None:
        self._plane = plane
        self._tables = tables
        self._world: World = tables.world

    async def registered(self, slug: str | None = None) -> Mapping[str, int]:
        def ask() -> Mapping[str, int]:
            self._require_litestream()
            return {each: epoch for each, epoch in self._world.registered.items() if slug in (None, each)}

        return await self._plane.effect(ask, Unavailable)

    async def register(self, slug: str, epoch: int) -> None:
        def put() -> None:
            self._require_litestream()
            if self._world.registered.get(slug, epoch) != epoch:
                raise Unavailable("it is being copied to another epoch")
            if not self._world.volume_state(slug).database:
                raise Unavailable("there is no database")
            self._world.registered[slug] = epoch

        await self._plane.effect(put, Unavailable)

    async def unregister(self, slug: str) -> None:
        def end() -> None:
            self._require_litestream()
            if slug in self._world.registered and self._world.volume_state(slug).database:
                self._require_store()
                self._world.replicate(slug)
            self._world.registered.pop(slug, None)

        await self._plane.effect(end, Unavailable)

    async def sync_wait(self, slug: str) -> Synced:
        def sync() -> Synced:
            self._require_litestream()
            self._require_store()
            replica = self._world.replicate(slug)
            if replica is None:
                raise Unavailable("it is not registered")
            return Synced(replica.txid)

        return await self._plane.effect(sync, Unavailable)

    async def restore(self, slug: str, epoch: int, into: Path, *, at: str | None = None) -> RestoreResult:
        def read() -> RestoreResult:
            self._require_store()
            replica = self._world.replicas.get((slug, epoch))
            if replica is None or not replica.marks:
                return RestoreResult(RestoreOutcome.NOTHING)
            if not replica.readable:
                return RestoreResult(RestoreOutcome.UNREADABLE)
            marks = replica.marks
            if at is not None:
                moment = datetime.fromisoformat(at).timestamp()
                marks = [each for each in marks if each[0] <= moment]
            if not marks:
                return RestoreResult(RestoreOutcome.NOTHING)
            _, calls, txid, state = marks[-1]
            sound = self._plane.chance.random() >= self._plane.faults.bad_restore
            copy = Database(self._world.number(), epoch, replica.calls[:calls], txid, state, sound)
            self._world.require_disk()
            self._world.staged[into.name] = (copy, None, None)
            return RestoreResult(RestoreOutcome.RESTORED, txid)

        await self._plane.pause(0.05)
        return await self._plane.effect(read, Unavailable)

    async def verify(self, slug: str, epoch: int) -> VerifyResult:
        def check() -> VerifyResult:
            self._require_store()
            replica = self._world.replicas.get((slug, epoch))
            return VerifyResult(replica is not None and replica.readable)

        await self._plane.pause(0.05)
        return await self._plane.effect(check, Unavailable)

    async def destroy(self, slug: str) -> None:
        def remove() -> None:
            self._require_store()
            self._tables.invariants.at_purge(self._tables.tenants.get(slug), slug in self._tables.doomed)
            for key in [each for each in self._world.replicas if each[0] == slug]:
                del self._world.replicas[key]
                self._tables.invariants.confirmed.pop(key, None)

        await self._plane.effect(remove, Unavailable)

    async def owners(self) -> set[str]:
        return {slug for slug, _ in self._world.replicas}

    def _require_litestream(self) -> None:
        if not self._world.litestream_up:
            raise Unavailable("Litestream does not answer")

    def _require_store(self) -> None:
        if not self._world.store_up:
            raise Unavailable("the object store does not answer")
