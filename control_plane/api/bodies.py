"""Request bodies: every field typed and bounded, an unknown one refused with the nearest name."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from control_plane.errors import CloudError, nearest
from instance.core.keys import SCOPES
from instance.core.passphrase import PASSPHRASE_MAX, PASSPHRASE_MIN

EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s.]+")
SETTINGS_MAX_BYTES = 64 * 1024
APP_SCOPES = sorted(set(SCOPES) - {"admin", "instance"})


def epoch_seconds(text: str) -> float:
    """An RFC 3339 time as seconds since 1970; without an offset it is UTC. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError:
        raise ValueError("must be a time such as 2026-02-28T14:30:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _time(text: str) -> str:
    epoch_seconds(text)
    return text


def _email(text: str) -> str:
    address = text.strip().lower()
    if not EMAIL.fullmatch(address):
        raise ValueError("must be an e-mail address")
    return address


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError("must be an address or a network such as 203.0.113.0/24") from None


def _scope(text: str) -> str:
    if text not in APP_SCOPES:
        raise ValueError(f"unknown scope: {nearest(text, APP_SCOPES)}")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200)]
Email = Annotated[str, Field(max_length=254), AfterValidator(_email)]
Time = Annotated[str, Field(max_length=40), AfterValidator(_time)]
Network = Annotated[str, Field(max_length=64), AfterValidator(_network)]
Scope = Annotated[str, Field(max_length=40), AfterValidator(_scope)]

Passphrase = Annotated[str, Field(min_length=PASSPHRASE_MIN, max_length=PASSPHRASE_MAX)]


class Body(BaseModel):
    """Base of every request body."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name in value:
                if name not in cls.model_fields:
                    hint = nearest(str(name), list(cls.model_fields))
                    raise CloudError("unknown_field", f"unknown field `{name}`: {hint}", param=str(name))
        return value


class Signup(Body):
    email: Email
    password: str | None = Field(None, min_length=10, max_length=200)
    tenant_slug: str = Field(max_length=64)
    plan: str = Field("free", max_length=64)


class AccountChange(Body):
    name: Name | None = None
    email: Email | None = None


class TokenCreate(Body):
    name: Name
    scopes: list[Literal["tenants:read", "tenants:write", "keys:read", "keys:write", "billing:read"]] | None = None
    expires_at: Time | None = None


class FromBackup(Body):
    tenant: str = Field(max_length=64)
    at: Time | None = None


class TenantCreate(Body):
    slug: str = Field(max_length=64)
    plan: str | None = Field(None, max_length=64)
    region: str | None = Field(None, min_length=1, max_length=64)
    account: int | None = Field(None, ge=1, description="operator only: the account that shall own it")
    from_backup: FromBackup | None = None
    import_url: str | None = Field(None, min_length=1, max_length=4096, description="https address of an exported file")
    passphrase: Passphrase | None = Field(None, repr=False, description="of the file at `import_url`")

    @model_validator(mode="after")
    def _one_source(self) -> TenantCreate:
        if self.import_url is not None and self.from_backup is not None:
            raise ValueError("a tenant begins with a backup or with a file, not with both")
        if (self.import_url is None) != (self.passphrase is None):
            raise ValueError("`import_url` and `passphrase` go together")
        return self


class Export(Body):
    passphrase: Passphrase = Field(repr=False)


class TenantChange(Body):
    plan: str | None = Field(None, max_length=64)
    settings: dict[str, Any] | None = None
    image: str | None = Field(None, min_length=1, max_length=300)
    idle_nap_s: int | None = Field(None, ge=1)
    idle_sleep_s: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _bounded(self) -> TenantChange:
        if self.settings is not None and len(orjson.dumps(self.settings)) > SETTINGS_MAX_BYTES:
            raise ValueError(f"settings must be at most {SETTINGS_MAX_BYTES} bytes")
        return self


class Suspension(Body):
    reason: str = Field("", max_length=500)
    after_s: int = Field(0, ge=0, le=31_536_000, description="announced now, takes effect so many seconds later")


class KeyLimits(Body):
    models: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field([], max_length=100)
    ip_allow: list[Network] = Field([], max_length=100)
    rpm: int | None = Field(None, ge=1, le=10_000_000)
    budget_usd_month: float | None = Field(None, gt=0, le=1_000_000_000)
    expires_at: Time | None = None


class KeyCreate(KeyLimits):
    name: Name
    kind: Literal["proxy", "app", "admin"] = "proxy"
    scopes: list[Scope] = Field([], max_length=64, description="only for kind app; empty = the kind's own")

    @model_validator(mode="after")
    def _scopes_of_kind(self) -> KeyCreate:
        if self.scopes and self.kind != "app":
            raise ValueError("scopes are chosen for kind `app` only; `proxy` and `admin` keys have their own")
        return self


class KeyChange(KeyLimits):
    name: Name | None = None
    scopes: list[Scope] | None = Field(None, max_length=64)


class Rotate(Body):
    overlap_s: int = Field(default=86_400, ge=0, le=30 * 86_400)


class Restore(Body):
    at: Time | None = None
    epoch: int | None = Field(None, ge=1)
    into: str | None = Field(None, max_length=64)
