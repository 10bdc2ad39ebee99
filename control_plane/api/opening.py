"""Opens a tenant: its secrets, its first two keys, its row. All in the caller's transaction."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from control_plane.api.plane import Plane
from control_plane.domain.slugs import slug_problem
from control_plane.domain.tenants import RestoreRequest
from control_plane.errors import CloudError, nearest
from control_plane.keys import NewKeyText, new_key
from control_plane.store import keys, tenants
from control_plane.store.keys import NewKey
from instance.core.secrets import KEY_BYTES

OPERATORS_SETTINGS = ("allow_private_networks", "server")
"""What no file that a customer brings may set: where an instance listens, and what it may reach."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a tenant brings from elsewhere beside its database."""

    secret_key: str
    keys: tuple[NewKey, ...]
    settings: dict[str, Any]

    def __repr__(self) -> str:
        return "Moved(…)"


@dataclass(frozen=True, slots=True)
class Opening:
    """A tenant that is asked for."""

    slug: str
    plan: str
    region: str
    restore: RestoreRequest | None = None
    moved: Moved | None = None


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """Answered once, in the answer that opens the tenant."""

    api_key: NewKeyText
    admin_key: NewKeyText

    def shape(self) -> dict[str, str]:
        """The two texts as the API answers them."""
        return {"api_key": self.api_key.text, "admin_key": self.admin_key.text}


def check(plane: Plane, slug: str, plan: str) -> None:
    """Raise `bad_slug` or `invalid_value` unless a tenant may be opened under this slug and plan."""
    if problem := slug_problem(slug, plane.config.reserved_slugs):
        raise CloudError("bad_slug", problem, param="slug")
    if plan not in plane.config.plans:
        hint = nearest(plan, list(plane.config.plans))
        raise CloudError("invalid_value", f"unknown plan `{plan}`: {hint}", param="plan")


def open_tenant(connection: Connection, plane: Plane, opening: Opening, account_id: int, actor: str) -> FirstKeys:
    """Insert the tenant with its first keys and those that it brings. Raises `slug_taken`."""
    moved = opening.moved
    secret_key = moved.secret_key if moved is not None else secrets.token_bytes(KEY_BYTES).hex()
    texts = {"instance_key": new_key("instance").text, "secret_key": secret_key}
    new = tenants.NewTenant(
        slug=opening.slug,
        account_id=account_id,
        plan=plane.config.plan(opening.plan),
        region=opening.region,
        image=plane.config.image,
        sealed_secrets=plane.box.seal(orjson.dumps(texts), opening.slug.encode()),
        restore=opening.restore,
        settings=moved.settings if moved is not None else {},
    )
    tenants.create(connection, new, actor=actor)
    first = FirstKeys(new_key("proxy"), new_key("admin"))
    for kind, key in (("proxy", first.api_key), ("admin", first.admin_key)):
        made = NewKey(name=f"first {kind} key", kind=kind, sha256=key.sha256, prefix=key.prefix)
        keys.create(connection, opening.slug, made, actor=actor)
    for brought in moved.keys if moved is not None else ():
        keys.create(connection, opening.slug, brought, actor=actor, action="key.import")
    return first
