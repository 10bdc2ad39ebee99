"""`/api/memory/*`: sessions read, exported, kept and erased over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from fastapi import Query as QueryParameters
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response

from instance.core.errors import StockyardError
from instance.core.principals import Principal, has_scope
from instance.core.timestamps import parse_time, rfc3339
from instance.memory import store
from instance.memory.session import Session
from instance.system.audit import changed
from instance.system.auth import require
from instance.system.json_response import Json
from instance.system.listing import Query, envelope

if TYPE_CHECKING:
    from instance.memory.app import Memory

Reader = Annotated[Principal, Depends(require("memory:read"))]
Writer = Annotated[Principal, Depends(require("memory:write"))]
Label = Annotated[str, Field(max_length=256)]
TTL_MAX_S = 31_536_000


class Filters(Query):
    """What narrows a list or an export."""

    user: Label = ""
    team: Label = ""
    key: Label = ""
    origin: Label = ""
    q: Annotated[str, Field(max_length=200, description="Part of the caller's own session id.")] = ""

    def where(self, principal: Principal) -> tuple[str, tuple[Any, ...]]:
        """As SQL; a team's key sees only that team's."""
        terms, values = ["1 = 1"], []
        for column, value in (
            ("user_id", self.user),
            ("team_id", self.team),
            ("team_id", str(principal.team or "")),
            ("key_id", self.key),
            ("origin", self.origin),
        ):
            if value:
                terms.append(f"{column} = ?")
                values.append(value)
        if self.q:
            terms.append("instr(name, ?) > 0")
            values.append(self.q)
        return " AND ".join(terms), tuple(values)


class SessionsQuery(Filters):
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0, le=10**9)] = 0


class SessionChange(BaseModel):
    """What `PUT` takes; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    summary: Annotated[str, Field(max_length=20_000)] | None = None
    ttl_s: Annotated[int, Field(ge=1, le=TTL_MAX_S)] | None = None
    pinned: bool | None = None


class Forget(BaseModel):
    """Whose memory goes: exactly one of these."""

    model_config = ConfigDict(extra="forbid")

    user_id: Label | None = None
    session_id: Label | None = None
    before: str | None = Field(default=None, description="RFC 3339 or a date: sessions not used since.")
    dry_run: bool = False

    @model_validator(mode="after")
    def _one(self) -> Forget:
        if sum(bool(value) for value in (self.user_id, self.session_id, self.before)) != 1:
            raise ValueError("give one of `user_id`, `session_id`, `before`")
        return self


def router(memory: Memory) -> APIRouter:
    """The routes of one Memory."""
    routes = APIRouter(prefix="/api/memory", tags=["memory"])
    core, table = memory.core, memory.sessions

    async def one(ident: str, principal: Principal) -> Session:
        await table.flush()
        session = await core.database.read(lambda connection: store.load(connection, "id", ident))
        if session is None or (principal.team and session.team != str(principal.team)):
            raise StockyardError("not_found", f"There is no session {ident[:64]!r}.")
        return await table.find(session.identity) or session

    @routes.get("/sessions", summary="List sessions")
    async def list_sessions(query: Annotated[SessionsQuery, QueryParameters()], principal: Reader) -> Json:
        await table.flush()
        where, values = query.where(principal)
        rows = await core.database.read(
            lambda connection: store.listed(connection, where, values, query.limit, query.offset)
        )
        total, _ = await core.database.read(lambda connection: store.total(connection, where, values))
        made = envelope("sessions", [_row(row) for row in rows], total=total, capped=False, next_cursor=None)
        return Json({**made, "has_more": query.offset + len(rows) < total})

    @routes.get("/sessions/{id}", summary="One session with its messages")
    async def read_session(id: str, principal: Reader) -> Json:
        _may_read(principal)
        return Json(_whole(await one(id, principal)))

    @routes.put("/sessions/{id}", summary="Change a session's summary, time to live, or pin it")
    async def change_session(id: str, principal: Writer, body: SessionChange) -> Json:
        session = await one(id, principal)
        now = core.clock.wall_ns()
        if body.summary is not None:
            session.summary = body.summary
        if body.ttl_s is not None:
            session.expires_at_ns = now + body.ttl_s * 10**9
        if body.pinned is not None:
            session.pinned = body.pinned
        table.put(session)
        await table.flush()
        event = changed(principal, f"session:{session.id}", "update", body.model_fields_set)
        await core.writer.write(lambda connection: None, [event])
        return Json({"status": "updated", **_head(session)})

    @routes.delete("/sessions/{id}", summary="Erase a session")
    async def delete_session(id: str, principal: Writer) -> Json:
        session = await one(id, principal)
        await table.remove("id = ?", (session.id,), [changed(principal, f"session:{session.id}", "delete")])
        return Json({"status": "deleted", "id": session.id})

    @routes.post("/forget", summary="Erase all that is remembered of a user, of a session, or from before a day")
    async def forget(principal: Writer, body: Forget) -> Json:
        if body.before is not None:
            try:
                where, values = "updated_at_ns < ?", (parse_time(body.before),)
            except ValueError:
                raise StockyardError("invalid_value", "`before` is RFC 3339 or a date.", param="before") from None
        elif body.user_id is not None:
            where, values = "user_id = ?", (body.user_id,)  # type: ignore[assignment]
        else:
            where, values = "(id = ? OR name = ?)", (body.session_id, body.session_id)  # type: ignore[assignment]
        if principal.team:
            where, values = f"{where} AND team_id = ?", (*values, str(principal.team))  # type: ignore[assignment]
        if body.dry_run:
            await table.flush()
            sessions, messages = await core.database.read(lambda connection: store.total(connection, where, values))
        else:
            fields = body.model_fields_set - {"dry_run"}
            sessions, messages = await table.remove(where, values, [changed(principal, "memory", "forget", fields)])
        return Json({"sessions": sessions, "messages": messages, "facts": 0, "cache_entries": 0})

    @routes.get("/export", summary="Sessions as lines of JSON")
    async def export(query: Annotated[Filters, QueryParameters()], principal: Reader) -> Response:
        _may_read(principal)
        await table.flush()
        where, values = query.where(principal)

        def lines(sessions: Iterator[Session]) -> bytes:
            return b"".join(orjson.dumps(_whole(session)) + b"\n" for session in sessions)

        body = await core.database.read(lambda connection: lines(store.whole(connection, where, values)))
        return Response(body, media_type="application/x-ndjson", headers={"cache-control": "no-store"})

    @routes.get("/status", summary="Memory at a glance")
    async def status(_: Reader) -> Json:
        await table.flush()
        sessions, messages = await core.database.read(lambda connection: store.total(connection, "1 = 1", ()))
        slot = core.services["registry"].slots.get("chatmem")
        return Json(
            {
                "app": "memory",
                "status": "ok",
                "sessions": sessions,
                "messages": messages,
                "facts": 0,
                "strategy": slot.settings.strategy if slot is not None else None,
                "module_enabled": slot is not None and slot.running is not None,
            }
        )

    return routes


def _may_read(principal: Principal) -> None:
    if not has_scope(principal, "content:read"):
        raise StockyardError(
            "scope_missing", "This key may not read texts: it lacks content:read.", details={"scope": "content:read"}
        )


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "origin": row["origin"],
        "name": row["name"],
        "user_id": row["user_id"] or None,
        "team_id": row["team_id"] or None,
        "key_id": row["key_id"] or None,
        "messages": row["messages"],
        "tokens": row["tokens"],
        "summary": None,
        "pinned": bool(row["pinned"]),
        "expires_at": rfc3339(row["expires_at_ns"]),
        "updated_at": rfc3339(row["updated_at_ns"]),
    }


def _head(session: Session) -> dict[str, Any]:
    return _row(
        {
            "id": session.id,
            "origin": session.origin,
            "name": session.name,
            "user_id": session.user,
            "team_id": session.team,
            "key_id": session.key,
            "messages": len(session.turns),
            "tokens": session.tokens,
            "pinned": session.pinned,
            "expires_at_ns": session.expires_at_ns,
            "updated_at_ns": session.updated_at_ns,
        }
    )


def _whole(session: Session) -> dict[str, Any]:
    turns = [{**turn.message, "cut": turn.cut, "at": rfc3339(turn.at_ns)} for turn in session.turns]
    return {**_head(session), "summary": session.summary or None, "messages_count": len(turns), "messages": turns}
