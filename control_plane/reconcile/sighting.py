"""What was last seen of a tenant's instance, for people: `observed` in the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from control_plane.domain.state import rfc3339
from control_plane.domain.tenants import Generation
from control_plane.reconcile.seen import Seen


@dataclass(frozen=True, slots=True)
class Sighting:
    """A look, without what only decisions need; kept for every tenant."""

    seen_at: float
    instance: str | None  # running, starting, paused, exited; None = there is none
    epoch: int | None
    linked: bool
    registered: int | None
    backups_up: bool
    ready: bool
    in_flight: int | None
    generation: Generation | None

    @classmethod
    def of(cls, seen: Seen, now: float) -> Sighting:
        """From a whole look at `now`."""
        probe, instance = seen.probe, seen.instance
        return cls(
            seen_at=now,
            instance=str(instance.state) if instance is not None else None,
            epoch=instance.epoch if instance is not None else None,
            linked=seen.linked is True,
            registered=seen.registered,
            backups_up=seen.backups_up,
            ready=probe is not None and probe.ready,
            in_flight=seen.activity.in_flight if seen.activity is not None else None,
            generation=probe.generation if probe is not None else None,
        )

    def shape(self) -> dict[str, Any]:
        """As the API answers it; what was not asked or not answered is null."""
        generation = self.generation
        return {
            "instance": self.instance,
            "epoch": self.epoch,
            "linked": self.linked,
            "registered": self.registered if self.backups_up else None,
            "ready": self.ready,
            "in_flight": self.in_flight,
            "generation": generation._asdict() if generation is not None else None,
            "seen_at": rfc3339(self.seen_at),
        }
