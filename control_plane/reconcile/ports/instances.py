"""An instance over its own socket, as the reconciler uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from control_plane.domain.tenants import Generation


@dataclass(frozen=True, slots=True)
class Probe:
    """What an instance says of itself."""

    ready: bool
    draining: bool
    generation: Generation | None  # of the state it last applied; None = none yet
    epoch: int


@dataclass(frozen=True, slots=True)
class Activity:
    in_flight: int  # calls and streams running now
    idle_s: float  # since the last call ended, by the instance's own monotonic clock
    last_request_at: float | None = None  # None: none since it started
    scheduled_next_at: float | None = None


@dataclass(frozen=True, slots=True)
class Drained:
    drained: bool  # no call running, journal folded
    in_flight: int = 0
    ledger_seq: int = 0
    ledger_hash: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    ok: bool
    ledger_seq: int = 0
    ledger_hash: str = ""
    detail: str = ""


class Instances(Protocol):
    """`/ready` and `/api/instance/*` of one instance; every call has a deadline and raises `Unavailable`."""

    async def probe(self, slug: str) -> Probe | None:
        """None when nobody answers, or somebody who does not accept this tenant's instance key."""

    async def activity(self, slug: str) -> Activity: ...

    async def push_state(self, slug: str, state: Mapping[str, Any]) -> Generation:
        """Apply the whole desired state; the generation that the instance then has."""

    async def renew_lease(self, slug: str, lease_s: float) -> None:
        """Its keys are good for so long from now, if its plan's keys need a lease; never shortens one."""

    async def drain(self, slug: str, deadline_s: float, *, suspended: bool = False) -> Drained:
        """`suspended` ends its running streams at once."""

    async def resume(self, slug: str) -> None:
        """Undo a drain."""

    async def verify(self, slug: str) -> Verified: ...

    async def usage(self, slug: str) -> Mapping[str, Any]: ...
