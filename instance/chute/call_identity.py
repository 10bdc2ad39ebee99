"""Whom a call belongs to, as routing asks it: its session, its user, its key; and shares of callers that never flap."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange

BUCKETS = 10_000


def key_id(x: Exchange) -> str:
    """The id of the call's key; empty without one."""
    principal = x.principal
    return principal.key_text if principal is not None else ""


def holder(x: Exchange) -> str:
    """Whose a call is by its key: the id, apart for each client that the key speaks for."""
    return f"{key_id(x)}@{x.client}" if x.client else key_id(x)


def body_user(x: Exchange) -> str:
    """The `user` field of the body."""
    user = x.req.get("user")
    return user if isinstance(user, str) else ""


def metadata_session(x: Exchange) -> str:
    """`metadata.session_id` of the body."""
    metadata: Any = x.req.get("metadata")
    session = metadata.get("session_id") if isinstance(metadata, dict) else None
    return session if isinstance(session, str) else ""


def user_of(x: Exchange) -> str:
    """The user that the call is made for: header, else body, else the key's owner."""
    if b"x-stockyard-user" in x.headers or b"x-user-id" in x.headers:
        return x.user
    return body_user(x) or x.user


def session_of(x: Exchange) -> str:
    """The call's session: header, else `metadata.session_id`."""
    return x.session or metadata_session(x)


def model_names(x: Exchange) -> list[str]:
    """What a glob of the model may fit: the asked name, and the target chosen so far with and without its provider."""
    if not x.targets:
        return [x.model_requested]
    target = x.targets[0]
    return [x.model_requested, target.label, target.model]


def bucket(name: str, unit: str) -> int:
    """Where a unit falls among `BUCKETS`, the same for ever and independent for each name: BLAKE2b's first 8 bytes."""
    return int.from_bytes(blake2b(f"{name}\0{unit}".encode(), digest_size=8).digest()) % BUCKETS


def within_share(name: str, unit: str, share_pct: float) -> bool:
    """Whether a unit belongs to the share, in percent, of all units."""
    return share_pct >= 100 or bucket(name, unit) < share_pct * (BUCKETS / 100)
