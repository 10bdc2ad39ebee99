"""A ticket: one call that waits for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from instance.core.timestamps import rfc3339, rfc3339_or_none


@dataclass(frozen=True, slots=True)
class Ticket:
    """One call that waits for people, and what they said. `remembers` is what its approval approves for good; empty: nothing."""

    id: str
    status: str
    rule: str
    needed: int
    approvers: tuple[str, ...]
    four_eyes: bool
    request_sha256: str
    trace_id: str
    key_id: str
    user_id: str
    team_id: str
    model: str
    remembers: str
    votes: tuple[dict[str, Any], ...]
    created_at_ns: int
    expires_at_ns: int
    decided_at_ns: int = 0

    def state(self, now_ns: int) -> str:
        """`pending`, `approved`, `denied`, `used`, or `expired` when it was left too long."""
        return "expired" if self.status in ("pending", "approved") and self.expires_at_ns < now_ns else self.status

    @property
    def comment(self) -> str:
        """What was said last."""
        return str(self.votes[-1]["comment"]) if self.votes else ""

    def shown(self, now_ns: int) -> dict[str, Any]:
        """As answers show it."""
        return {
            "id": self.id,
            "status": self.state(now_ns),
            "rule": self.rule,
            "needed": self.needed,
            "approvers": list(self.approvers),
            "four_eyes": self.four_eyes,
            "request_sha256": self.request_sha256,
            "trace_id": self.trace_id,
            "key_id": self.key_id,
            "user_id": self.user_id or None,
            "team_id": self.team_id or None,
            "model": self.model,
            "votes": list(self.votes),
            "created_at": rfc3339(self.created_at_ns),
            "expires_at": rfc3339(self.expires_at_ns),
            "decided_at": rfc3339_or_none(self.decided_at_ns),
        }
