"""Tool calls of agents that wait for a person."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from instance.core.ids import new_id
from instance.core.timestamps import rfc3339

if TYPE_CHECKING:
    from instance.core.clock import Clock

WAITING_MAX = 1000
SHOWN_MAX_CHARS = 4000

Decision = Literal["approved", "denied", "expired", "crowded"]


@dataclass(slots=True)
class Waiting:
    """One held tool call."""

    id: str
    session: str
    trace_id: str
    tool: str
    arguments: str
    asked_ns: int
    until_ns: int
    decided: asyncio.Future[Decision] = field(repr=False)

    def row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "session_id": self.session,
            "trace_id": self.trace_id,
            "tool": self.tool,
            "arguments": self.arguments[:SHOWN_MAX_CHARS],
            "created_at": rfc3339(self.asked_ns),
            "expires_at": rfc3339(self.until_ns),
        }


class ToolApprovals:
    """The calls that wait now. They end with the call that holds them, so nothing of them is stored."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[str, Waiting] = {}

    def rows(self) -> list[dict[str, Any]]:
        """What waits, the oldest first."""
        return [waiting.row() for waiting in self._waiting.values()]

    def get(self, found: str) -> Waiting | None:
        return self._waiting.get(found)

    def decide(self, found: str, decision: Literal["approved", "denied"]) -> bool:
        """Let a call go on or refuse it; whether it was waiting."""
        waiting = self._waiting.get(found)
        if waiting is None or waiting.decided.done():
            return False
        waiting.decided.set_result(decision)
        return True

    def deny_session(self, session: str) -> None:
        """Refuse all that waits of a session."""
        for waiting in self._waiting.values():
            if waiting.session == session and not waiting.decided.done():
                waiting.decided.set_result("denied")

    async def wait(self, session: str, trace_id: str, tool: str, arguments: str, wait_s: float) -> Decision:
        """What a person decides within `wait_s`."""
        if len(self._waiting) >= WAITING_MAX:
            return "crowded"
        now_ns = self._clock.wall_ns()
        decided: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        waiting = Waiting(
            new_id("apr_"), session, trace_id, tool, arguments, now_ns, now_ns + round(wait_s * 1e9), decided
        )
        self._waiting[waiting.id] = waiting
        limit = asyncio.ensure_future(self._clock.sleep(wait_s))
        try:
            await asyncio.wait((decided, limit), return_when=asyncio.FIRST_COMPLETED)
            return decided.result() if decided.done() else "expired"
        finally:
            limit.cancel()
            del self._waiting[waiting.id]
