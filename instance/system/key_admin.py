"""Making, revoking and rotating keys: the rules, whoever asks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from fnmatch import fnmatchcase
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from instance.core import key_store
from instance.core.errors import StockyardError
from instance.core.keys import DEFAULT_SCOPES, SCOPES, display, hash_key, make_key
from instance.core.money import usd_to_nano
from instance.core.principals import ANY_CLIENT, CLIENT_NAME, CLIENT_TEAM, Principal, has_scope
from instance.core.timestamps import NS_PER_S, parse_time, rfc3339_or_none
from instance.system import key_rows
from instance.system.audit import changed

if TYPE_CHECKING:
    from instance.core.core import Core

OVERLAP_MAX_S = 604_800
KEY_ID_MAX = 2**63 - 1


class Limits(BaseModel):
    """How a key is narrowed; what is absent does not narrow."""

    model_config = ConfigDict(extra="forbid")

    models: Annotated[list[str], Field(max_length=256, description="Globs of models.")] = []
    ip_allow: Annotated[list[str], Field(max_length=256, description="Addresses or networks.")] = []
    rpm: Annotated[int | None, Field(ge=1, le=10_000_000)] = None
    budget_usd_month: Annotated[float | None, Field(ge=0, le=1e9)] = None


class NewKey(BaseModel):
    """What a new key is to be."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)] = "default"
    kind: Literal["proxy", "app", "admin"] = "proxy"
    scopes: Annotated[list[str], Field(max_length=64)] = []
    team_id: Annotated[str | None, Field(max_length=64)] = None
    client: Annotated[
        str | None, Field(pattern=f"^{CLIENT_NAME.pattern}$", description="The client whose key it is (tenantwall).")
    ] = None
    multi_client: Annotated[bool, Field(description="It names the client with each request.")] = False
    limits: Limits = Limits()
    expires_at: str | None = None


class Rotation(BaseModel):
    """How a key is replaced; with an overlap both work for a while."""

    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[int, Field(ge=0, le=OVERLAP_MAX_S)] = 0


class KeyAdmin:
    """Changes keys of one instance; on a hosted one every change is refused: its control plane makes them."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def require_local(self) -> None:
        """Raise `managed_by_control_plane` on a hosted instance."""
        hosted = self._core.hosted
        if hosted is not None:
            where = hosted.control_plane_url or "its control plane"
            message = f"Keys of this instance are made at {where}."
            raise StockyardError("managed_by_control_plane", message, details={"url": hosted.control_plane_url or None})

    async def create(self, by: Principal, user: str, wanted: NewKey) -> dict[str, Any]:
        """The new key object with its `key`, which is shown this once. A key cannot give what it does not hold."""
        self.require_local()
        text = make_key(wanted.kind)
        principal = _wanted(by, user, wanted, text)
        now = self._core.clock.wall_ns()

        def store(connection: sqlite3.Connection) -> dict[str, Any]:
            if key_rows.name_taken(connection, user, wanted.name):
                raise StockyardError("already_exists", f"There is a key named {wanted.name!r} already.", param="name")
            made = key_rows.key(connection, key_store.add(connection, principal, now))
            assert made is not None
            return made

        event = changed(by, f"keys/{wanted.name}", "create", wanted.model_fields_set, event_type="key_event")
        made = await self._core.writer.write(store, [event])
        await self._core.reload_keys()
        return {**made, "key": text}

    async def revoke(self, by: Principal, key_id: int, user: str | None = None) -> None:
        """End a key now. Raises 404, or `last_admin_key` when no other admin key would be left."""
        self.require_local()
        now = self._core.clock.wall_ns()

        def store(connection: sqlite3.Connection) -> None:
            self._known(connection, by, key_id, user, now)
            key_store.revoke(connection, key_id, now)
            _require_an_admin(connection, now)

        event = changed(by, f"keys/{key_id}", "revoke", event_type="key_event")
        await self._core.writer.write(store, [event])
        await self._core.reload_keys()

    async def rotate(self, by: Principal, key_id: int, overlap_s: int, user: str | None = None) -> dict[str, Any]:
        """Replace a key by a new one with the same name, scopes and limits; the old one ends after the overlap."""
        self.require_local()
        now = self._core.clock.wall_ns()
        ends_at = now + overlap_s * NS_PER_S

        def store(connection: sqlite3.Connection) -> tuple[dict[str, Any], str]:
            old = self._known(connection, by, key_id, user, now)
            _require_held(by, old.scopes)
            text = make_key(old.kind)
            successor = Principal(
                0,
                old.kind,
                old.scopes,
                name=old.name,
                user=old.user,
                team=old.team,
                models=old.models,
                ip_allow=old.ip_allow,
                rpm=old.rpm,
                budget_month_nano=old.budget_month_nano,
                prefix=display(text),
                digest=hash_key(text),
            )
            new_id = key_store.add(connection, successor, now)
            key_rows.set_rotated(connection, key_id, new_id)
            if overlap_s:
                key_store.expire(connection, key_id, ends_at)
            else:
                key_store.revoke(connection, key_id, now)
            made = key_rows.key(connection, new_id)
            assert made is not None
            return made, text

        event = changed(by, f"keys/{key_id}", "rotate", event_type="key_event", overlap_s=overlap_s)
        made, text = await self._core.writer.write(store, [event])
        await self._core.reload_keys()
        new_key = {**made, "key": text}
        return {"status": "rotated", "old_key": key_id, "old_expires_at": rfc3339_or_none(ends_at), "new_key": new_key}

    @staticmethod
    def _known(connection: sqlite3.Connection, by: Principal, key_id: int, user: str | None, now_ns: int) -> Principal:
        known = key_store.one(connection, key_id) if key_id <= KEY_ID_MAX else None
        others = known is None or (user is not None and known.user != user) or by.team not in ("", known.team)
        if known is None or known.revoked or others:
            raise StockyardError("not_found", f"There is no working key {key_id}.")
        if known.origin == "env":
            raise StockyardError("set_by_env", "This key is given by STOCKYARD_ADMIN_KEY; change it there.")
        return known


def _wanted(by: Principal, user: str, wanted: NewKey, text: str) -> Principal:
    scopes = wanted.scopes or list(DEFAULT_SCOPES[wanted.kind])
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise StockyardError("invalid_value", f"There is no scope {unknown[0]!r}.", param="scopes")
    if wanted.kind != "admin" and "admin" in scopes:
        raise StockyardError("invalid_value", "Only a key of kind admin carries the scope admin.", param="scopes")
    _require_held(by, scopes)
    limits = wanted.limits
    _require_narrower(by, limits)
    return Principal(
        0,
        wanted.kind,
        scopes,
        name=wanted.name,
        user=user,
        team=_team(by, wanted),
        models=limits.models or by.models,
        ip_allow=_networks(limits.ip_allow) or by.ip_allow,
        expires_at_ns=_expiry(by, wanted.expires_at),
        rpm=limits.rpm or 0,
        budget_month_nano=usd_to_nano(limits.budget_usd_month) if limits.budget_usd_month else 0,
        prefix=display(text),
        digest=hash_key(text),
    )


def _team(by: Principal, wanted: NewKey) -> str:
    """The new key's team: that of the key that makes it, else what is wanted. A client's wall takes `teams:write` to open."""
    if wanted.team_id is not None and wanted.team_id.startswith(CLIENT_TEAM):
        raise StockyardError("invalid_value", "Name the client by `client`.", param="team_id")
    if wanted.client is None and not wanted.multi_client:
        return by.team or wanted.team_id or ""
    if wanted.team_id is not None or (wanted.client is not None and wanted.multi_client):
        raise StockyardError("invalid_value", "Give one of `client`, `multi_client` and `team_id`.", param="client")
    team = CLIENT_TEAM + (ANY_CLIENT if wanted.client is None else wanted.client)
    if by.team not in ("", team):
        raise StockyardError("forbidden", "A key makes keys of its own team only.", param="client")
    if not has_scope(by, "teams:write"):
        raise StockyardError("scope_missing", "A client's key takes teams:write.", details={"scope": "teams:write"})
    return team


def _require_held(by: Principal, scopes: Iterable[str]) -> None:
    for scope in scopes:
        if not has_scope(by, scope):
            message = f"This key lacks the scope {scope}, so it cannot give it."
            raise StockyardError("scope_missing", message, details={"scope": scope})


def _require_narrower(by: Principal, limits: Limits) -> None:
    if by.models:
        wider = [model for model in limits.models if not any(fnmatchcase(model, glob) for glob in by.models)]
        if wider:
            message = f"This key is limited to {', '.join(by.models)}, so it cannot allow {wider[0]!r}."
            raise StockyardError("forbidden", message, param="limits.models")


def _networks(texts: list[str]) -> list[str]:
    for text in texts:
        try:
            ip_network(text, strict=False)
        except ValueError:
            message = f"{text!r} is neither an address nor a network."
            raise StockyardError("invalid_value", message, param="limits.ip_allow") from None
    return texts


def _expiry(by: Principal, text: str | None) -> int:
    if text is None:
        return by.expires_at_ns
    try:
        at_ns = parse_time(text)
    except ValueError:
        message = "`expires_at` must be RFC 3339 (2026-02-28T14:30:00Z) or a date."
        raise StockyardError("invalid_value", message, param="expires_at") from None
    return min(at_ns, by.expires_at_ns) if by.expires_at_ns else at_ns


def _require_an_admin(connection: sqlite3.Connection, now_ns: int) -> None:
    if not key_store.admins_left(connection, now_ns):
        message = "It is the last admin key; make another one first."
        raise StockyardError("last_admin_key", message)
