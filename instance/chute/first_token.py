"""More time for the first token, for a provider that has to load a model before it can begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.chute.time_limits import TimeLimit


def allow_more_time(x: Exchange, seconds: float) -> None:
    """Move the limit on the call's first token by that much, never past the call's deadline."""
    limit: TimeLimit | None = x.state.get("first_token_limit")
    if limit is not None:
        until = limit.until + seconds
        limit.until = min(until, x.deadline_ns / 1e9) if x.deadline_ns else until
