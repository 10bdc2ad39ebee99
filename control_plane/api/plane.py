"""What the API's handlers work with; put together in `app.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from control_plane.api.limits import RequestRate
from control_plane.backups.key_ends import KeyEnds
from control_plane.backups.litestream import LitestreamBackups
from control_plane.config import Config
from control_plane.master_key import MasterKey
from control_plane.metrics.instruments import Instruments
from control_plane.moving.room import Room
from control_plane.runtimes.protocol import Runtime
from control_plane.snapshot import Snapshot
from control_plane.store.database import Database
from control_plane.store.store import Store


class ReconcilerView(Protocol):
    """What the API asks of the running loop."""

    def status(self) -> dict[str, Any]:
        """Queues, back-offs, lag."""

    def progress(self, slug: str) -> dict[str, Any]:
        """What was seen of a tenant last, what stands in its way, where it is in the queue."""

    def queue_position(self, slug: str) -> tuple[int, float] | None:
        """Its place in the queue of starts, and in how many seconds it is up, guessed; None if it waits for nothing."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@dataclass(slots=True)
class Plane:
    """One running control plane."""

    config: Config
    database: Database
    store: Store
    snapshot: Snapshot
    box: MasterKey
    operator_digest: str
    incarnation: int
    request_rate: RequestRate
    started_at: float
    key_ends: KeyEnds
    room: Room
    reconciler: ReconcilerView | None = None
    backups: LitestreamBackups | None = None
    runtime: Runtime | None = None
    instruments: Instruments = field(default_factory=Instruments)
    levels: dict[str, int] = field(default_factory=dict)  # of the last check-up by name: 0 ok, 1 warn, 2 bad
    ending: bool = False  # what waits for changes shall answer now

    def lag_of(self, slug: str) -> float | None:
        """How far the tenant's replica is behind, in seconds; None when that is not known here."""
        return self.backups.lag_of(slug) if self.backups is not None else None

    def end(self) -> None:
        """Let everything that waits for changes answer at once: the process is about to end."""
        self.ending = True
        self.database.changed.notify()
        self.database.changed_tenants.notify_all()


async def plane_of(request: Request) -> Plane:
    """The plane that serves this request; a coroutine, since FastAPI calls anything else on a thread."""
    plane: Plane = request.app.state.plane
    return plane


CurrentPlane = Annotated[Plane, Depends(plane_of)]
