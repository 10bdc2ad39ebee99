"""When a key ends, as it is written beside the backups, and what that means to an older copy of the key. Pure.

A restored control plane must not revive a key that ended after its copy was made, nor end one that was given more time.
"""

from __future__ import annotations

NEVER = float("inf")
"""On record for a key that was to end once and no longer is."""


def end_of(expires_at: float | None, revoked_at: float | None) -> float:
    """When the key ends by itself or was ended, rounded as it is written; NEVER if neither."""
    return round(min((at for at in (expires_at, revoked_at) if at is not None), default=NEVER), 6)


def held_to(ends_at: float, expires_at: float | None, revoked_at: float | None, now: float) -> dict[str, float]:
    """What must change of a key (`revoked_at` or `expires_at`) so that it ends no later than is on record."""
    if revoked_at is not None or ends_at == NEVER:
        return {}
    if expires_at is not None and expires_at <= ends_at + 1e-6:
        return {}
    return {"revoked_at": ends_at} if ends_at <= now else {"expires_at": ends_at}
