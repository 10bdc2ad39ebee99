"""What a batch is: some calls that may wait, made by one key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from instance.core.money import nano_to_usd
from instance.core.timestamps import rfc3339, rfc3339_or_none

OPEN = ("queued", "running")
PRIORITIES = {"low": -1, "normal": 0, "high": 1}


def priority_name(priority: int) -> str:
    """low, normal or high."""
    return "high" if priority > 0 else "low" if priority < 0 else "normal"


@dataclass(slots=True)
class NewJob:
    """One call as it was handed in. `headers` are those that it is made with."""

    custom_id: str
    path: str
    model: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """A row of the table; times are wall nanoseconds, money nano-dollars, 0 is none."""

    id: str
    kind: str
    status: str
    priority: int
    single: bool
    team: str
    key_id: str
    client_ip: str
    total: int
    max_attempts: int
    concurrency: int
    max_cost_nano: int
    cost_nano: int = 0
    callback_url: str = ""
    callback_secret: bytes = b""
    callback_due: bool = False
    paused: bool = False
    created_at_ns: int = 0
    started_at_ns: int = 0
    completed_at_ns: int = 0

    def shown(self, done: int, failed: int, attempts: int) -> dict[str, Any]:
        """The batch as the API gives it."""
        return {
            "id": self.id,
            "type": self.kind,
            "status": self.status,
            "priority": priority_name(self.priority),
            "attempts": attempts,
            "total": self.total,
            "done": done,
            "failed": failed,
            "paused": self.paused,
            "cost_usd": nano_to_usd(self.cost_nano),
            "created_at": rfc3339(self.created_at_ns),
            "started_at": rfc3339_or_none(self.started_at_ns or None),
            "completed_at": rfc3339_or_none(self.completed_at_ns or None),
        }
