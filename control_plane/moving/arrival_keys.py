"""The keys in an imported file, checked field by field: they came from somebody else's machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from control_plane.api.bodies import Network, epoch_seconds
from control_plane.domain.state import NANO_PER_USD
from control_plane.errors import CloudError
from control_plane.store.keys import MAX_KEYS, NewKey
from instance.core.keys import DEFAULT_SCOPES, SCOPES
from instance.core.principals import CLIENT_TEAM


def _scope(text: str) -> str:
    if text not in SCOPES:
        raise ValueError(f"unknown scope {text[:40]!r}")
    return text


class _Limits(BaseModel):
    model_config = ConfigDict(extra="ignore")

    models: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=256)] = []
    ip_allow: Annotated[list[Network], Field(max_length=256)] = []
    rpm: Annotated[int | None, Field(ge=1, le=10_000_000)] = None
    budget_usd_month: Annotated[float | None, Field(ge=0, le=1_000_000_000)] = None


class _Key(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: Annotated[int, Field(ge=0)] | Annotated[str, Field(max_length=64)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    prefix: Annotated[str, Field(max_length=40)] = ""
    name: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Literal["proxy", "app", "admin"]
    scopes: Annotated[list[Annotated[str, AfterValidator(_scope)]], Field(max_length=64)] = []
    limits: _Limits = _Limits()
    expires_at: Annotated[str | None, Field(max_length=40)] = None
    team: str | int | None = None

    @model_validator(mode="after")
    def _admin_only(self) -> _Key:
        if self.kind != "admin" and "admin" in self.scopes:
            raise ValueError("only a key of kind `admin` carries the scope `admin`")
        if str(self.team).startswith(CLIENT_TEAM):
            raise ValueError("a client's key (tenantwall) would lose its wall here; revoke such keys before the export")
        return self

    def new_key(self, key_id: int) -> NewKey:
        scopes = frozenset(self.scopes)
        return NewKey(
            name=self.name,
            kind=self.kind,
            sha256=self.sha256,
            prefix=self.prefix,
            scopes=() if scopes == DEFAULT_SCOPES[self.kind] else tuple(sorted(scopes)),
            models=tuple(self.limits.models),
            ip_allow=tuple(self.limits.ip_allow),
            rpm=self.limits.rpm or 0,
            budget_month_nano=round((self.limits.budget_usd_month or 0) * NANO_PER_USD),
            expires_at=epoch_seconds(self.expires_at) if self.expires_at else None,
            id=key_id,
        )


_KEYS = TypeAdapter(list[_Key])


def read_keys(rows: list[Any], first_id: int) -> tuple[tuple[NewKey, ...], dict[str, int]]:
    """The keys to be made, numbered from `first_id`, and their new numbers by the old ones. Raises `invalid_value` naming the first that cannot be."""
    if len(rows) > MAX_KEYS - 2:
        raise CloudError(
            "invalid_value", f"the file has {len(rows)} keys; a tenant has at most {MAX_KEYS}", param="file"
        )
    try:
        given = _KEYS.validate_python(rows)
        found = tuple(key.new_key(first_id + place) for place, key in enumerate(given))
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CloudError("invalid_value", f"keys.json: {where}: {first['msg']}", param="file") from None
    except ValueError as problem:
        raise CloudError("invalid_value", f"keys.json: {problem}", param="file") from None
    if len({key.sha256 for key in found}) != len(found):
        raise CloudError("invalid_value", "keys.json: the same key stands in it twice", param="file")
    return found, {str(key.id): first_id + place for place, key in enumerate(given)}
