"""What the API's handlers work with; put together in `app.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from control_plane.api.limits import RequestRate
from control_plane.backups.key_ends import KeyEnds
from control_plane.backups.litestream import LitestreamBackups
from control_plane.config import Config
from control_plane.snapshot import Snapshot
from control_plane.store.database import Database
from control_plane.store.store import Store
from instance.core.secrets import SecretBox


class ReconcilerView(Protocol):
    """What the API asks of the running loop."""

    def status(self) -> dict[str, Any]:
        """Queues, back-offs, lag."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@dataclass(slots=True)
class Plane:
    """One running control plane."""

    config: Config
    database: Database
    store: Store
    snapshot: Snapshot
    box: SecretBox
    operator_digest: str
    incarnation: int
    request_rate: RequestRate
    started_at: float
    key_ends: KeyEnds
    reconciler: ReconcilerView | None = None
    backups: LitestreamBackups | None = None
    ending: bool = False  # what waits for changes shall answer now

    def end(self) -> None:
        """Let everything that waits for changes answer at once: the process is about to end."""
        self.ending = True
        self.database.changed.notify()
        self.database.changed_tenants.notify_all()


def plane_of(request: Request) -> Plane:
    """The plane that serves this request."""
    plane: Plane = request.app.state.plane
    return plane


CurrentPlane = Annotated[Plane, Depends(plane_of)]
