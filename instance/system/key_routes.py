"""`/api/auth/*` and `/api/keys`: who one is, users, and their keys."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi import Query as QueryParameters
from pydantic import BaseModel, ConfigDict, Field

from instance.core.errors import StockyardError
from instance.core.keys import hash_key
from instance.core.principals import Principal
from instance.core.timestamps import rfc3339_or_none
from instance.system import key_rows, usage
from instance.system.audit import changed
from instance.system.auth import require
from instance.system.json_response import Json
from instance.system.key_admin import KeyAdmin, NewKey, Rotation
from instance.system.key_rows import KeyFilter
from instance.system.listing import NS_PER_DAY, ListQuery, Query, envelope

if TYPE_CHECKING:
    from instance.server import Instance

TeamsRead = Annotated[Principal, Depends(require("teams:read"))]
TeamsWrite = Annotated[Principal, Depends(require("teams:write"))]
Self = Annotated[Principal, Depends(require("self"))]
Admin = Annotated[Principal, Depends(require("admin"))]


class NewUser(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)]
    name: Annotated[str, Field(max_length=200)] = ""


class Presented(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=1, max_length=512)]


class KeysQuery(ListQuery):
    team: str | None = None
    user: str | None = None
    kind: Literal["proxy", "app", "admin"] | None = None
    unused_days: Annotated[int | None, Field(ge=1, le=3660)] = None


class OwnKeysQuery(Query):
    include_revoked: bool = False


def router(instance: Instance) -> APIRouter:
    """The routes of one instance."""
    routes = APIRouter(tags=["keys"])
    core = instance.core
    admin = KeyAdmin(core)
    read = core.database.read

    async def listed(narrowed: KeyFilter) -> list[dict[str, Any]]:
        if core.hosted is not None:
            return _pushed(core.keys.principals(), narrowed)
        return await read(lambda connection: key_rows.keys(connection, narrowed))

    async def user(user_id: int) -> dict[str, Any]:
        found = await read(lambda connection: key_rows.users(connection, user_id)) if user_id < 2**63 else []
        if not found:
            raise StockyardError("not_found", f"There is no user {user_id}.")
        return found[0]

    @routes.get("/api/auth/me", summary="Who this key is, and what it may do")
    async def me(principal: Self) -> Json:
        mine = [user for user in await read(key_rows.users) if str(user["id"]) == principal.user]
        return Json(
            {
                "user": mine[0] if mine else None,
                "key": described(principal),
                "teams": [principal.team] if principal.team else [],
                "scopes": sorted(principal.scopes),
                "providers": [],
            }
        )

    @routes.get("/api/auth/me/usage", summary="What this key's calls add up to")
    async def my_usage(principal: Self) -> Json:
        totals = await read(usage.totals_by_key)
        return Json({"user_id": principal.user or None, "total": usage.shown(totals.get(str(principal.key_id)))})

    @routes.get("/api/auth/me/keys", summary="One's own keys")
    async def my_keys(query: Annotated[OwnKeysQuery, QueryParameters()], principal: Self) -> Json:
        own = KeyFilter(principal.user, principal.team or None, include_revoked=query.include_revoked)
        found = await listed(own)
        if "admin" not in principal.scopes:
            found = [key for key in found if principal.user or key["id"] == principal.key_id]
        return Json(envelope("keys", found, total=len(found), capped=False, next_cursor=None))

    @routes.post("/api/auth/me/keys", status_code=201, summary="Make a key of one's own")
    async def make_my_key(wanted: NewKey, principal: Self) -> Json:
        return Json({"status": "created", **await admin.create(principal, principal.user, wanted)}, 201)

    @routes.delete("/api/auth/me/keys/{key_id}", summary="Revoke a key of one's own")
    async def revoke_my_key(key_id: int, principal: Self) -> Json:
        own_only(principal, key_id)
        await admin.revoke(principal, key_id, principal.user)
        return Json({"status": "revoked", "id": key_id})

    @routes.post("/api/auth/me/keys/{key_id}/rotate", summary="Replace a key of one's own")
    async def rotate_my_key(key_id: int, principal: Self, rotation: Rotation | None = None) -> Json:
        own_only(principal, key_id)
        overlap_s = rotation.overlap_s if rotation else 0
        return Json(await admin.rotate(principal, key_id, overlap_s, principal.user))

    @routes.get("/api/keys", summary="Every key of the instance")
    async def every_key(query: Annotated[KeysQuery, QueryParameters()], principal: TeamsRead) -> Json:
        unused_since = None
        if query.unused_days is not None:
            unused_since = core.clock.wall_ns() - query.unused_days * NS_PER_DAY
        team = principal.team or query.team
        found = await listed(KeyFilter(query.user, team, query.kind, unused_since))
        found = found if query.order == "asc" else found[::-1]
        rows = found[query.offset : query.offset + query.limit]
        answer = envelope("keys", rows, total=len(found), capped=False, next_cursor=None)
        return Json(answer | {"has_more": query.offset + len(rows) < len(found)})

    @routes.post("/api/keys/verify", summary="Whether a key works")
    async def verify_key(presented: Presented, principal: Admin) -> Json:
        try:
            known = core.keys.lookup(hash_key(presented.key), core.clock.wall_ns())
        except StockyardError as refusal:
            return Json({"active": False, "reason": refusal.code, "key": None})
        return Json({"active": True, "key": described(known)})

    @routes.get("/api/keys/{key_id}", summary="One key")
    async def one_key(key_id: int, principal: TeamsRead) -> Json:
        for key in await listed(KeyFilter(team=principal.team or None)):
            if key["id"] == key_id:
                return Json(key)
        raise StockyardError("not_found", f"There is no key {key_id}.")

    @routes.delete("/api/keys/{key_id}", summary="Revoke a key")
    async def revoke_key(key_id: int, principal: TeamsWrite) -> Json:
        await admin.revoke(principal, key_id)
        return Json({"status": "revoked", "id": key_id})

    @routes.get("/api/auth/users", summary="The users")
    async def list_users(principal: TeamsRead) -> Json:
        found = await read(key_rows.users)
        return Json(envelope("users", found, total=len(found), capped=False, next_cursor=None))

    @routes.post("/api/auth/users", status_code=201, summary="Make a user, with a first key")
    async def make_user(wanted: NewUser, principal: TeamsWrite) -> Json:
        admin.require_local()
        now = core.clock.wall_ns()

        def store(connection: sqlite3.Connection) -> int:
            made = key_rows.add_user(connection, wanted.email.lower(), wanted.name, now)
            if made is None:
                raise StockyardError("already_exists", "There is a user with this address already.", param="email")
            return made

        event = changed(principal, "users", "create", wanted.model_fields_set)
        user_id = await core.writer.write(store, [event])
        key = await admin.create(principal, str(user_id), NewKey())
        made = await user(user_id)
        return Json({"status": "created", "id": user_id, "user": made, "api_key": key}, 201)

    @routes.get("/api/auth/users/{user_id}", summary="One user")
    async def one_user(user_id: int, principal: TeamsRead) -> Json:
        return Json(await user(user_id))

    @routes.get("/api/auth/users/{user_id}/keys", summary="A user's keys")
    async def keys_of(user_id: int, query: Annotated[OwnKeysQuery, QueryParameters()], principal: TeamsRead) -> Json:
        await user(user_id)
        found = await listed(KeyFilter(user=str(user_id), include_revoked=query.include_revoked))
        return Json(envelope("keys", found, total=len(found), capped=False, next_cursor=None))

    @routes.post("/api/auth/users/{user_id}/keys", status_code=201, summary="Make a key for a user")
    async def make_key_for(user_id: int, wanted: NewKey, principal: TeamsWrite) -> Json:
        await user(user_id)
        return Json({"status": "created", **await admin.create(principal, str(user_id), wanted)}, 201)

    @routes.delete("/api/auth/users/{user_id}/keys/{key_id}", summary="Revoke a user's key")
    async def revoke_for(user_id: int, key_id: int, principal: TeamsWrite) -> Json:
        await user(user_id)
        await admin.revoke(principal, key_id, str(user_id))
        return Json({"status": "revoked", "id": key_id})

    @routes.post("/api/auth/users/{user_id}/keys/{key_id}/rotate", summary="Replace a user's key")
    async def rotate_for(user_id: int, key_id: int, principal: TeamsWrite, rotation: Rotation | None = None) -> Json:
        await user(user_id)
        return Json(await admin.rotate(principal, key_id, rotation.overlap_s if rotation else 0, str(user_id)))

    return routes


def own_only(principal: Principal, key_id: int) -> None:
    """A key without a user may change itself only, unless it is an admin's."""
    if not principal.user and "admin" not in principal.scopes and principal.key_id != key_id:
        raise StockyardError("not_found", f"There is no working key {key_id}.")


def described(principal: Principal) -> dict[str, Any]:
    """A key object from what is known in memory."""
    return {
        "id": principal.key_id,
        "user_id": principal.user or None,
        **key_rows.team_shown(principal.team),
        "key_prefix": principal.prefix,
        "name": principal.name,
        "kind": principal.kind,
        "scopes": sorted(principal.scopes),
        "limits": {
            "models": list(principal.models),
            "ip_allow": list(principal.ip_allow),
            "rpm": principal.rpm or None,
            "budget_usd_month": principal.budget_month_nano / 1e9 if principal.budget_month_nano else None,
        },
        "expires_at": rfc3339_or_none(principal.expires_at_ns),
        "origin": principal.origin,
    }


def _pushed(principals: list[Principal], narrowed: KeyFilter) -> list[dict[str, Any]]:
    """The keys that the control plane pushed; they are in no table."""
    found = [described(principal) for principal in principals]
    wanted = (("user_id", narrowed.user or None), ("team_id", narrowed.team or None), ("kind", narrowed.kind))
    return [key for key in found if all(value is None or key[name] == value for name, value in wanted)]
