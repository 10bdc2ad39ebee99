"""The way of a call: the edge, a process of the activator (the real one), and what an instance makes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from control_plane.config import Config, load_config
from control_plane.domain.tenants import Desired, Status
from control_plane.reconcile.ports import Unavailable
from control_plane.routing.activator import Activator, Scope
from control_plane.routing.answers import Send
from control_plane.routing.caller import Caller
from control_plane.routing.forward import Lost, NotDialled
from control_plane.routing.nap import NapResumer
from control_plane.routing.plane_client import PlaneDown, Told
from control_plane.routing.snapshot import Snapshot, Unreadable
from control_plane.routing.wake import Waker
from control_plane.runtimes.protocol import RunState
from tests.simulation.plane import Faults, Plane, PlaneDead
from tests.simulation.sim_machine import SimEdge, SimInstances, SimRuntime
from tests.simulation.sim_snapshot import snapshot_reader
from tests.simulation.sim_store import Tables
from tests.simulation.world import Instance, World

CONFIG: Config = load_config({"data": Path("/simulated")}, {})
DEADLINE_S = 4.0
POLL_S = 0.02
SERVED = 200
UNAUTHORIZED = 401
LOST = 502
REFUSED = 503


def digest_of(text: str) -> str:
    """As keys are kept."""
    return sha256(text.encode()).hexdigest()


class Doorway:
    """What an instance does with a call that reached its socket."""

    def __init__(self, world: World, tables: Tables, chance: random.Random) -> None:
        self._world = world
        self._tables = tables
        self._chance = chance

    async def take(self, slug: str, text: str, instance: Instance, came_at: float) -> int:
        """The status it answers with. Raises `Lost` when it ends in the middle; frozen, it waits."""
        invariants = self._tables.invariants
        await self._reach(instance)
        invariants.at_arrival(slug, instance)
        key = self._admit(slug, text, instance, came_at)
        if key is None:
            return UNAUTHORIZED
        if self._world.disk_full:
            return REFUSED  # audit_unavailable: what cannot be recorded is not done
        instance.in_flight += 1
        await asyncio.sleep(self._chance.choice((0.01, 0.05, 0.3, 1.6)))
        await self._while_frozen(instance)
        instance.in_flight -= 1
        instance.last_call_at, instance.called_at = self._world.monotonic, self._world.now
        number = self._world.number()
        self._world.key_of[number] = key
        instance.volume.journal.append(number)  # the reserve takes what is in flight when a disk fills up
        invariants.at_answer(slug, number)
        if instance.volume is not self._world.volumes.get(slug):  # its folder was removed under it
            invariants.at_loss(slug, instance.volume)
        return SERVED

    def _admit(self, slug: str, text: str, instance: Instance, came_at: float) -> int | None:
        digest = digest_of(text)
        state = instance.volume.database.state if instance.volume.database is not None else None
        found = state.keys.get(digest) if state is not None else None
        good = found is not None and (found[1] is None or self._world.now < found[1])
        self._tables.invariants.at_admission(slug, digest, good, "the instance", came_at, self._world.now)
        return found[0] if found is not None and good else None

    async def _reach(self, instance: Instance) -> None:
        """A call that waits at the socket of a frozen instance is read, when that thaws, before what is asked of it then."""
        if instance.state is not RunState.PAUSED:
            return await self._while_frozen(instance)
        instance.in_flight += 1
        try:
            await self._while_frozen(instance)
        finally:
            if instance.state is not RunState.EXITED:
                instance.in_flight -= 1

    async def _while_frozen(self, instance: Instance) -> None:
        while instance.state is RunState.PAUSED:
            await asyncio.sleep(0.1)
        if instance.state is not RunState.RUNNING:
            raise Lost(answered=False)
        if not self._world.is_ready(instance):
            raise Lost(answered=False)  # it listens and hangs


class SimPlaneClient:
    """`PlanePort`: `POST /internal/tenants/{slug}/wake`, answered by whichever control plane lives."""

    def __init__(self, tables: Tables, plane: Callable[[], Plane | None]) -> None:
        self._tables = tables
        self._plane = plane

    async def wake(self, slug: str, wait_s: float) -> Told:
        plane = self._plane()
        if plane is None or not plane.alive:
            raise PlaneDown
        try:
            return await self._answer(plane, slug, wait_s)
        except PlaneDead:
            raise Unavailable("the connection was reset") from None

    async def _answer(self, plane: Plane, slug: str, wait_s: float) -> Told:
        await plane.effect(lambda: self._ask(slug), Unavailable)
        until = asyncio.get_running_loop().time() + wait_s
        while (told := self._told(slug)) is None:
            await plane.pause(POLL_S)
            if asyncio.get_running_loop().time() >= until:
                tenant = self._tables.tenants.get(slug)
                return Told(tenant.status if tenant is not None else Status.DELETED)
        return told

    def _ask(self, slug: str) -> None:
        tenant = self._tables.tenants.get(slug)
        if tenant is not None and tenant.desired not in (Desired.SUSPENDED, Desired.DELETED):
            self._tables.desire(slug, Desired.RUNNING)

    def _told(self, slug: str) -> Told | None:
        """What it is told when waiting longer changes nothing."""
        tenant = self._tables.tenants.get(slug)
        if tenant is None or tenant.desired is Desired.DELETED:
            return Told(Status.DELETED)
        if tenant.desired is Desired.SUSPENDED:
            return Told(Status.SUSPENDED, tenant.reason)
        if tenant.status is Status.FAILED:
            return Told(Status.FAILED, failure=tenant.failure)
        routed = tenant.status is Status.RUNNING and slug in self._tables.world.links
        return Told(Status.RUNNING) if routed else None


@dataclass
class ActivatorProcess:
    """One life of the activator."""

    life: Plane
    app: Activator
    waker: Waker
    snapshot: Snapshot


class Routes:
    """Where a call goes, as the edge decides: to the socket that is linked, else to the activator."""

    def __init__(
        self, tables: Tables, chance: random.Random, faults: Faults, plane: Callable[[], Plane | None]
    ) -> None:
        self._world = tables.world
        self._tables = tables
        self._chance = chance
        self._faults = faults
        self._plane = plane
        self._doorway = Doorway(self._world, tables, chance)
        self._activator: ActivatorProcess | None = None

    @property
    def effects(self) -> int:
        """Of the present activator."""
        return self._activator.life.effects if self._activator is not None else 0

    async def call(self, slug: str, text: str) -> int:
        """The status that a caller gets; 0 for a connection that ended without an answer."""
        came_at = self._world.monotonic
        instance = self._world.socket_of(slug, self._world.links.get(slug))
        if instance is None:
            return await self._activate(slug, text)
        try:
            return await self._doorway.take(slug, text, instance, came_at)
        except Lost:
            return LOST

    def end_activator(self) -> int:
        """`kill -9`; the effects that it had."""
        activator, self._activator = self._activator, None
        if activator is None:
            return 0
        activator.life.die()
        for wake in list(activator.waker._running.values()):
            wake.task.cancel()
        activator.waker._links.close()
        return activator.life.effects

    async def _activate(self, slug: str, text: str) -> int:
        activator = self._activator = self._activator or self._begin()
        came_at, now = self._world.monotonic, self._world.now
        statuses: list[int] = []

        async def receive() -> dict[str, Any]:
            if statuses or not body:
                await asyncio.sleep(3600.0)
            return body.pop()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        body = [{"type": "http.request", "body": b"{}", "more_body": False}]
        headers = [(b"x-stockyard-tenant", slug.encode()), (b"authorization", b"Bearer " + text.encode())]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": headers,
            "came_at": came_at,
            "answered_by_instance": False,
        }
        believed = _can_be_read(activator.snapshot, slug)  # nothing comes between this and its own look
        with suppress(PlaneDead, Lost):
            await activator.app(scope, receive, send)
        if not activator.life.alive or not statuses:
            return 0
        status: int = statuses[0]
        if believed and not scope["answered_by_instance"] and status in (UNAUTHORIZED, REFUSED):
            self._tables.invariants.at_admission(
                slug, digest_of(text), status != UNAUTHORIZED, "the activator", came_at, now
            )
        return status

    def _begin(self) -> ActivatorProcess:
        life = Plane(self._chance, self._faults)
        edge = SimEdge(life, self._tables, by_activator=True)
        instances = SimInstances(life, self._tables, by_activator=True)
        snapshot = snapshot_reader(self._world)
        nap = NapResumer(SimRuntime(life, self._tables), instances, edge, snapshot)
        waker = Waker(SimPlaneClient(self._tables, self._plane), edge, nap)
        app = Activator(
            CONFIG, snapshot, waker, deadline_s=DEADLINE_S, forward=self._forward, now=lambda: self._world.now
        )
        return ActivatorProcess(life, app, waker, snapshot)

    async def _forward(self, scope: Scope, caller: Caller, send: Send, own_socket: Path) -> None:
        """Dials the socket that lies at the path now."""
        slug = own_socket.parent.name
        instance = self._world.socket_of(slug, self._world.sockets.get(slug))
        if instance is None:
            raise NotDialled
        text = next(value for name, value in scope["headers"] if name == b"authorization").split(b" ")[1].decode()
        scope["answered_by_instance"] = True
        asked_for = next(value for name, value in scope["headers"] if name == b"x-stockyard-tenant").decode()
        # What counts is when the call came to the edge: a key that ended while it was held may still be let in.
        status = await self._doorway.take(asked_for, text, instance, scope["came_at"])
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body", "body": b""})


def _can_be_read(snapshot: Snapshot, slug: str) -> bool:
    """Without it the activator tells nobody anything but to come again."""
    try:
        snapshot.tenant(slug)
    except Unreadable:
        return False
    return True
