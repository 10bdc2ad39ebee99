"""`/api/proxy/modules/agentguard`: agents' sessions and how to stop them, and the tool calls that wait for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Query

from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.system.audit import changed
from instance.system.auth import require

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.chute.modules.safety.agentguard import AgentGuard

Reader = Annotated[Principal, Depends(require("proxy:read"))]
ContentReader = Annotated[Principal, Depends(require("content:read"))]
Writer = Annotated[Principal, Depends(require("proxy:write"))]


def agent_router(chute: Chute) -> APIRouter:
    """The routes of this page."""
    core = chute.core
    routes = APIRouter(prefix="/api/proxy/modules/agentguard", tags=["proxy"])

    def guard() -> AgentGuard:
        running = chute.registry.slots["agentguard"].running
        if running is None:
            raise StockyardError("conflict", "The module agentguard is switched off.")
        return running  # type: ignore[return-value]

    async def recorded(principal: Principal, resource: str, action: str) -> None:
        await guard().sessions.flush()
        await core.writer.write(lambda connection: None, [changed(principal, resource, action)])

    @routes.get("/sessions")
    async def agent_sessions(
        _: Reader,
        stopped: Annotated[bool | None, Query(description="Only stopped ones, or only those that go on.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> dict[str, Any]:
        """The sessions of agents, the latest first: what each has used, and the rule that stopped it."""
        rows = guard().sessions.rows(stopped=stopped)
        page = rows[offset : offset + limit]
        more = offset + limit < len(rows)
        return {"sessions": page, "count": len(page), "total": len(rows), "has_more": more, "next_cursor": None}

    @routes.post("/sessions/{session_id}/stop")
    async def stop_session(session_id: str, principal: Writer) -> dict[str, Any]:
        """Refuse all further calls of a session, and the tool calls of it that wait."""
        session = guard().sessions.get(session_id)
        if session is None:
            raise StockyardError("not_found", f"There is no session {session_id!r}.")
        session.stopped = session.stopped or "by_hand"
        guard().sessions.touch(session, core.clock.wall_ns())
        guard().approvals.deny_session(session_id)
        await recorded(principal, f"agent_session:{session_id}", "stop")
        return {"status": "stopped", "session": session.row()}

    @routes.post("/sessions/{session_id}/reset")
    async def reset_session(session_id: str, principal: Writer) -> dict[str, Any]:
        """Forget what a session has used; it begins anew."""
        if not guard().sessions.reset(session_id):
            raise StockyardError("not_found", f"There is no session {session_id!r}.")
        await recorded(principal, f"agent_session:{session_id}", "reset")
        return {"status": "reset", "id": session_id}

    @routes.get("/approvals")
    async def waiting_tool_calls(_: Reader, __: ContentReader) -> dict[str, Any]:
        """The tool calls that are held until a person decides, the oldest first."""
        rows = guard().approvals.rows()
        return {"approvals": rows, "count": len(rows), "total": len(rows), "has_more": False, "next_cursor": None}

    @routes.post("/approvals/{approval_id}/approve")
    async def approve_tool_call(approval_id: str, principal: Writer) -> dict[str, Any]:
        """Let a held tool call go to the agent."""
        if not guard().approvals.decide(approval_id, "approved"):
            raise StockyardError("not_found", f"No tool call waits under {approval_id!r}.")
        await recorded(principal, f"tool_approval:{approval_id}", "approve")
        return {"status": "approved", "id": approval_id}

    @routes.post("/approvals/{approval_id}/deny")
    async def deny_tool_call(approval_id: str, principal: Writer) -> dict[str, Any]:
        """Refuse a held tool call."""
        if not guard().approvals.decide(approval_id, "denied"):
            raise StockyardError("not_found", f"No tool call waits under {approval_id!r}.")
        await recorded(principal, f"tool_approval:{approval_id}", "deny")
        return {"status": "denied", "id": approval_id}

    return routes
