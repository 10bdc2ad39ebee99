"""When a key ends, as it is written beside the backups, and what that means to an older copy of the key. Pure.

A restored control plane must not revive a key that ended after its copy was made, nor end one that was given more time.
"""

from __future__ import annotations

NEVER = float("inf")
"""On record for a key that was to end once and no longer is."""

REVOKED = 0.0
"""On record for a key that was revoked: in the past by whatever clock reads it, one that was set back too."""


def end_of(expires_at: float | None, revoked_at: float | None) -> float:
    """When the key ends by itself, rounded as it is written; REVOKED if it was ended, NEVER if neither."""
    if revoked_at is not None:
        return REVOKED
    return round(expires_at, 6) if expires_at is not None else NEVER


def held_to(ends_at: float, expires_at: float | None, revoked_at: float | None, now: float) -> dict[str, float]:
    """What must change of a key (`revoked_at` or `expires_at`) so that it ends no later than is on record."""
    if revoked_at is not None or ends_at == NEVER:
        return {}
    if expires_at is not None and expires_at <= ends_at + 1e-6:
        return {}
    return {"revoked_at": ends_at or now} if ends_at <= now else {"expires_at": ends_at}
