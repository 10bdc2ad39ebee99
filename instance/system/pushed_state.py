"""The desired state that the control plane pushes: checked, stored and applied whole or not at all."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from instance.core.errors import StockyardError
from instance.core.keys import DEFAULT_SCOPES, SCOPES
from instance.core.money import usd_to_nano
from instance.core.principals import Principal
from instance.core.timestamps import parse_time, rfc3339_or_none
from instance.core.writer import LedgerEvent
from instance.system.settings_view import paths_of
from instance.system.validation import invalid

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.system.key_lease import KeyLease

KEYS_MAX = 100_000
APPLIED_PARTS = frozenset(
    ("generation", "keys", "key_lease_s", "quotas", "plan", "settings", "provider_secrets", "modules")
)

Generation = tuple[int, int]

log = logging.getLogger("stockyard.control")


class _Part(BaseModel):
    """Fields that a newer control plane added are ignored: an unknown one must never keep a revocation from holding."""

    model_config = ConfigDict(extra="ignore")


class PushedGeneration(_Part):
    incarnation: Annotated[int, Field(ge=0, le=2**53)]
    number: Annotated[int, Field(ge=0, le=2**53)]


class PushedLimits(_Part):
    models: list[str] = []
    ip_allow: list[str] = []
    rpm: Annotated[int | None, Field(ge=1, le=10**9)] = None
    budget_usd_month: Annotated[float | None, Field(ge=0, le=10**9)] = None


class PushedKey(_Part):
    id: int | Annotated[str, Field(max_length=64)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    prefix: Annotated[str, Field(max_length=64)] = ""
    name: Annotated[str, Field(max_length=200)] = ""
    kind: Literal["proxy", "app", "admin"]
    scopes: list[str] = []
    limits: PushedLimits = PushedLimits()
    expires_at: str | None = None
    user: str | int | None = None
    team: str | int | None = None

    def principal(self) -> Principal:
        """The key as the request's way needs it; raises `ValueError` for a scope or a time that is none."""
        unknown = set(self.scopes) - set(SCOPES)
        if unknown:
            raise ValueError(f"unknown scope {min(unknown)!r}")
        limits = self.limits
        return Principal(
            key_id=self.id,
            kind=self.kind,
            scopes=frozenset(self.scopes or DEFAULT_SCOPES[self.kind]),
            name=self.name,
            user="" if self.user is None else str(self.user),
            team="" if self.team is None else str(self.team),
            models=tuple(limits.models),
            ip_allow=tuple(limits.ip_allow),
            expires_at_ns=parse_time(self.expires_at) if self.expires_at else 0,
            rpm=limits.rpm or 0,
            budget_month_nano=usd_to_nano(limits.budget_usd_month) if limits.budget_usd_month else 0,
            prefix=self.prefix,
            digest=bytes.fromhex(self.sha256),
            origin="control_plane",
        )


class State(_Part):
    generation: PushedGeneration
    keys: Annotated[list[PushedKey], Field(max_length=KEYS_MAX)]
    key_lease_s: Annotated[int, Field(ge=0, le=10**9)] = 0
    quotas: dict[str, Any] = {}
    plan: str = ""
    settings: dict[str, Any] = {}
    provider_secrets: list[dict[str, Any]] = []
    modules: dict[str, Any] | None = None

    def principals(self) -> list[Principal]:
        """Every key; raises 422 naming the first that cannot be."""
        found = []
        for index, key in enumerate(self.keys):
            try:
                found.append(key.principal())
            except ValueError as problem:
                raise StockyardError("invalid_value", f"keys[{index}]: {problem}.", param=f"keys[{index}]") from None
        return found


class PushedState:
    """What was applied last. `generation` is `None` before the first push."""

    def __init__(self, core: Core, lease: KeyLease) -> None:
        self._core = core
        self._lease = lease
        self._one_at_a_time = asyncio.Lock()
        self.generation: Generation | None = None
        self.applied_at_ns = 0
        self.digest = ""
        self.plan = ""
        self.quotas: dict[str, Any] = {}
        self._settings: dict[str, Any] = {}
        self._refused: list[str] = []

    async def load(self) -> None:
        """Take up what was applied before the restart: the keys hold, or are dead, before the next push."""
        row = await self._core.database.read(
            lambda connection: connection.execute("SELECT applied_at_ns, body FROM pushed_state").fetchone()
        )
        await self._lease.load()
        if row is None:
            self._core.keys.replace([])
            return
        body = row[1].encode()
        state = State.model_validate_json(body)
        self._take(state, state.principals(), body, row[0])

    async def apply(self, document: dict[str, Any]) -> dict[str, Any]:
        """Apply a pushed state; the answer of `PUT /api/instance/state`. Raises 422, or `stale_generation`."""
        try:
            state = State.model_validate(document)
        except ValidationError as problem:
            raise invalid(problem.errors(include_url=False, include_context=False)) from None
        principals = state.principals()
        body = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        generation = (state.generation.incarnation, state.generation.number)
        async with self._one_at_a_time:
            if self.generation is not None and generation < self.generation:
                raise StockyardError(
                    "stale_generation",
                    f"Generation {_written(self.generation)} was applied already; {_written(generation)} is older.",
                    details={"generation": shown(self.generation)},
                )
            if generation != self.generation or sha256(body).hexdigest() != self.digest:
                now = self._core.clock.wall_ns()
                row = (*generation, now, body.decode())
                await self._core.writer.write(
                    lambda connection: _store(connection, row), [self._event(state, principals)]
                )
                before = self._settings
                self._take(state, principals, body, now)
                self._refused = _unused(state, document) + await self._change_settings(before)
        return {"generation": shown(generation), "applied": True, "rejected": self._refused}

    async def _change_settings(self, before: Mapping[str, Any]) -> list[str]:
        """Use the pushed settings, and no more those that were pushed before; what is refused never holds keys back."""
        changes = dict.fromkeys(before) | self._settings
        if changes == before:
            return []
        try:
            await self._core.change_settings(changes)
        except StockyardError as refusal:
            log.warning("the pushed settings are not used: %s", refusal.message)
            return ["settings"]
        return []

    def described(self) -> dict[str, Any]:
        """What the reconciler observes of it."""
        return {
            "generation": shown(self.generation) if self.generation else None,
            "applied_at": rfc3339_or_none(self.applied_at_ns),
            "keys_count": len(self._core.keys),
            "hash": self.digest or None,
            "plan": self.plan or None,
        }

    def _take(self, state: State, principals: list[Principal], body: bytes, applied_at_ns: int) -> None:
        self._core.keys.replace(principals)
        self._lease.demand(state.key_lease_s)
        self.generation = (state.generation.incarnation, state.generation.number)
        self.applied_at_ns = applied_at_ns
        self.digest = sha256(body).hexdigest()
        self.plan = state.plan
        self.quotas = state.quotas
        self._settings = dict(paths_of(state.settings))
        self._core.services["quotas"] = state.quotas
        billing = self._core.services.get("billing")
        if billing is not None:
            billing.quota.set(state.quotas)
        limit = state.quotas.get("max_database_bytes")
        self._core.writer.limit_database(limit if type(limit) is int and limit > 0 else 0)

    def _event(self, state: State, principals: list[Principal]) -> LedgerEvent:
        before = {str(principal.key_id) for principal in self._core.keys.principals()}
        after = {str(principal.key_id) for principal in principals}
        detail = {
            "generation": shown((state.generation.incarnation, state.generation.number)),
            "keys": len(after),
            "keys_added": sorted(after - before)[:100],
            "keys_removed": sorted(before - after)[:100],
            "plan": state.plan,
        }
        return LedgerEvent("config_change", "control_plane", "instance/state", "apply", detail)


def shown(generation: Generation) -> dict[str, int]:
    """A generation as the API writes it."""
    return {"incarnation": generation[0], "number": generation[1]}


def _written(generation: Generation) -> str:
    return f"{generation[0]}.{generation[1]}"


def _store(connection: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO pushed_state (id, incarnation, number, applied_at_ns, body) VALUES (1, ?, ?, ?, ?)", row
    )


def _unused(state: State, document: dict[str, Any]) -> list[str]:
    """Parts that this version stores but does not act on."""
    unused = [name for name in ("provider_secrets", "modules") if getattr(state, name)]
    return sorted((document.keys() - APPLIED_PARTS) | set(unused))
